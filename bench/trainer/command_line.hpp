// The options of gyre_bench_trainer.
#pragma once

#include <string>
#include <vector>

#include "bench/trainer/trainer.hpp"

namespace gyre::trainer {

struct Command {
  Settings settings;
  int steps = 200;
  std::string text_file;
  std::string json_file;          // empty: none
  std::string checkpoint_folder;  // empty: none is written
  std::vector<int> checkpoint_steps;
  std::vector<std::string> compared_files;  // checkpoints whose gradients are computed again, instead of training
  double tolerance = 0;
  std::string help;  // asked for
};

/// Throws std::invalid_argument, or what Boost.Program_options throws.
Command parse_command_line(int argc, char** argv);

}  // namespace gyre::trainer
