#include "bench/kernels/reporter.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace gyre::bench {
namespace {

using Run = benchmark::BenchmarkReporter::Run;

/// Columns: title, width, counter, factor, decimals.
struct Column {
  const char* title;
  int width;
  const char* counter;
  double factor;
  int decimals;
};
constexpr Column kColumns[] = {
    {"ms", 10, "seconds", 1e3, 3},
    {"GFLOP/s", 9, "GFLOP/s", 1, 1},
    {"of peak", 8, "share_of_peak", 1, 3},
    {"of reading", 11, "share_of_read", 1, 3},
    {"error", 7, "error_of_bound", 1, 3},
    {"GHz", 6, "GHz", 1, 2},
    {"flop/cycle", 11, "flops_per_cycle", 1, 1},
    {"peak's", 7, "peak_flops_per_cycle", 1, 1},
    {"over", 7, "over_beside", 1, 3},
    {"its share", 10, "beside_share_of_peak", 1, 3},
};
constexpr int kNameWidth = 58;

/// The median where there are several repetitions, else the run itself.
bool counts(const Run& run) {
  return run.run_type == Run::RT_Iteration ? run.repetitions <= 1 : run.aggregate_name == "median";
}

void print(const Run& run) {
  std::printf("%-*s", kNameWidth, run.run_name.str().c_str());
  for (const Column& column : kColumns) {
    const auto counter = run.counters.find(column.counter);
    if (counter == run.counters.end()) {
      std::printf("%*s", column.width, "-");
    } else {
      std::printf("%*.*f", column.width, column.decimals, counter->second.value * column.factor);
    }
  }
  std::printf("  %s\n", run.report_label.c_str());
}

}  // namespace

bool LineReporter::ReportContext(const Context& context) {
  PrintBasicContext(&GetErrorStream(), context);
  std::printf("%-*s", kNameWidth, "benchmark");
  for (const Column& column : kColumns) std::printf("%*s", column.width, column.title);
  std::printf("\n");
  return true;
}

void LineReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (counts(run)) print(run);
  }
  std::fflush(stdout);
}

}  // namespace gyre::bench
