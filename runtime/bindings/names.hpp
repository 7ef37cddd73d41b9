// Problem and options as a caller from another language says them: by the names of the command line.
#pragma once

#include <string>

#include "runtime/problem.hpp"

namespace gyre {

/// The defaults are those of Problem and Options.
struct NamedChoices {
  std::string mask = "full";       // an expression of the mask parser; it may name files
  std::string dtype = "f32";       // f32, bf16, f16: what cells hold and the wire carries
  std::string partition = "auto";  // as --partition
  std::string strategy = "auto";   // as --strategy
  std::string backward = "none";   // none, auto, keys, queries
  std::string sharing = "auto";    // auto, off
  std::string machine;             // a file of `gyre calibrate`; empty: the machine that is assumed without one
};

/// Writes them where they belong. Reads the files that they name. Local. Throws std::invalid_argument naming value, limit and
/// remedy.
void apply(const NamedChoices& names, Problem& problem, Options& options);

}  // namespace gyre
