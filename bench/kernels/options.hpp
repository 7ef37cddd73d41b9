// The command line of gyre_bench_kernels, beside that of Google Benchmark.
#pragma once

#include <string>
#include <vector>

#include "bench/kernels/measure.hpp"
#include "bench/kernels/stopwatch.hpp"

namespace gyre::bench {

struct Options {
  std::string help{};  // a text, if it was asked for
  Clock clock = Clock::wall;
  std::vector<Case> cases{};
  std::vector<std::string> arguments;  // of Google Benchmark: our defaults, then those that were given
};

/// Throws std::invalid_argument or boost::program_options::error.
Options parse_options(int argc, char** argv);

}  // namespace gyre::bench
