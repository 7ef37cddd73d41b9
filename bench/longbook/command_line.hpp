// The options of gyre_bench_longbook.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/mechanism/sparse_choice.hpp"
#include "runtime/problem.hpp"

namespace gyre::longbook {

struct Yarn {
  double scale = 1;
  std::int64_t original_tokens = 0;
};

struct Command {
  std::string model_file, text_file;
  std::string json_file, encode_file;  // empty: none
  std::int64_t tokens = 2048;
  std::vector<StrategyChoice> strategies;  // each with each of
  std::vector<PartitionChoice> partitions;
  Options attention;  // but for these two
  Type type = Type::f32;
  std::optional<Yarn> yarn;
  std::optional<DualChunk> dual_chunk;
  std::string mask = "causal";
  std::string sparse;                 // as given; empty: none
  std::vector<SparseChoice> choices;  // what it says
  int repeat = 1;
  std::int64_t bin_tokens = 256;
  double tolerance = 0;
  std::string help;  // asked for
};

/// Throws std::invalid_argument, or what Boost.Program_options throws.
Command parse_command_line(int argc, char** argv);

}  // namespace gyre::longbook
