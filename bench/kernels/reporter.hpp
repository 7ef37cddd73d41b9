// The table on the console: one line a benchmark, of the medians of its repetitions.
#pragma once

#include <benchmark/benchmark.h>

namespace gyre::bench {

class LineReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
};

}  // namespace gyre::bench
