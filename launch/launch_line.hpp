// How to start ranks on nodes like this one: each on cores of its own, none across NUMA nodes.
#pragma once

#include <string>
#include <vector>

#include "comm/hardware.hpp"

namespace gyre {

struct LaunchLine {
  int ranks = 1;
  int ranks_per_node = 1;             // the most
  int threads = 1;                    // cores of each rank
  std::vector<std::string> mpirun{};  // words, up to the program's name
  std::vector<std::string> srun{};
};

/// Of `ranks` ranks over `nodes` nodes that are alike. A rank gets as many cores as there are for it within one NUMA node; more
/// ranks than cores share them evenly. Pure.
///
///   2 NUMA nodes of 16 cores, 4 ranks  ->  mpirun -n 4 --map-by ppr:2:numa:PE=8 --bind-to core
///                             3 ranks  ->  mpirun -n 3 --map-by ppr:3:node:PE=8 --bind-to core   (8 cores idle, none shared)
LaunchLine launch_line(const NodeCores& node, int ranks, int nodes = 1);

/// The rank counts that suit a job of that many nodes: one rank a NUMA node (the least that has to be sent), one a last-level
/// cache, one a core. Ascending, each once. Pure.
std::vector<int> suitable_ranks(const NodeCores& node, int nodes = 1);

/// Words of a line with blanks between them.
std::string joined(const std::vector<std::string>& words);

}  // namespace gyre
