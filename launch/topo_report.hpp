// What `gyre topo` tells: a page for a person, JSON for a program.
#pragma once

#include <string>
#include <vector>

#include "comm/hardware.hpp"
#include "comm/topology.hpp"

namespace gyre {

struct TopoReport {
  std::vector<RankPlace> places;               // of all ranks
  std::vector<int> threads;                    // of each rank, by default
  std::vector<Hardware> nodes;                 // one for each host, by its lowest rank
  std::vector<int> suggested{};                // rank counts to give lines for
  bool root = false;                           // Open MPI wants to be told that root means it
  std::vector<std::string> launch_warnings{};  // of what mpirun was not told
};

/// The ranks that may run on a core of this rank's, itself not included. Pure.
std::vector<int> shared_with(const TopoReport& report, int rank);

std::string to_text(const TopoReport& report);
std::string to_json(const TopoReport& report);

}  // namespace gyre
