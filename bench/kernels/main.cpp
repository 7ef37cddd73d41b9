// gyre_bench_kernels: what the kernels reach on one rank, beside what the processor can reach, measured in the same run.
//
// Every run is timed between two runs of a loop that only multiplies and adds in registers (when decoding, also of one that only
// reads the same keys and values) on the same threads: its share is that of their mean. The core's clock is measured too, so that
// a loop that is slower than the processor would show.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "bench/kernels/opponents.hpp"
#include "bench/kernels/options.hpp"
#include "bench/kernels/reporter.hpp"
#include "kernels/dispatch.hpp"

namespace gyre::bench {
namespace {

/// 0 if every result is within its bound.
int run(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  if (!options.help.empty()) {
    std::printf("%s", options.help.c_str());
    return 0;
  }
  bool right = true;
  for (const Case& timed : options.cases) {
    benchmark::RegisterBenchmark(timed.name.c_str(), [&timed, &right, clock = options.clock](benchmark::State& state) {
      right = measure(state, timed, clock) && right;
    })->Unit(benchmark::kMillisecond);
  }
  std::vector<char*> arguments{argv[0]};
  for (const std::string& argument : options.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  benchmark::AddCustomContext("instruction_set", select_kernels().name);
  benchmark::AddCustomContext("clock", options.clock == Clock::wall ? "wall" : "thread");
  for (const auto& [library, version] : opponent_versions()) benchmark::AddCustomContext(library, version);
  LineReporter reporter;
  if (benchmark::RunSpecifiedBenchmarks(&reporter) == 0) {
    std::fprintf(stderr, "gyre_bench_kernels: no benchmark of that name: --benchmark_list_tests names all\n");
    return 2;
  }
  benchmark::Shutdown();
  return right ? 0 : 1;
}

}  // namespace
}  // namespace gyre::bench

int main(int argc, char** argv) {
  try {
    return gyre::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gyre_bench_kernels: error: %s\n", error.what());
    return 2;
  }
}
