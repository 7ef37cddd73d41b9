// Where ranks run: nodes, and the cores that each rank is bound to (hwloc).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/hardware.hpp"
#include "comm/transport.hpp"

namespace gyre {

/// What one rank tells the others about where it is.
struct RankPlace {
  std::uint64_t host = 0;  // hash of the host's name
  /// The hardware threads of every core that the rank may run on, whole cores, by the operating system's numbers. Two ranks bound
  /// to the two threads of one core do share it. Numbers from 1,024 on are folded.
  std::array<std::uint64_t, 16> hardware_threads{};
  std::int64_t cores = 1;
  std::uint64_t numa_nodes = 1;  // a bit for each that those cores lie in, by the system's numbers; from 64 on they are folded
  std::int64_t process = 0;      // ranks of one process share its cores because they were asked to
  NodeCores node{};
  HostName host_name{};
};

struct Topology {
  std::vector<int> node_of_rank{};  // nodes numbered by their lowest rank
  int bound_cores = 1;              // physical cores that this rank may run on
  int sharing_ranks = 1;            // ranks of this node whose cores overlap with this rank's, itself included
  std::vector<RankPlace> places;    // of all ranks

  int nodes() const;
  /// The design's default: the bound cores divided by the ranks that share them, at least 1.
  int default_threads() const;
};

/// This process's place: host name, and the scheduler affinity that it was given (by mpirun, Slurm, a container). Local.
RankPlace this_place();

/// True if both may run on one core.
bool share_a_core(const RankPlace& a, const RankPlace& b);

/// The topology as `rank` sees it. Pure.
Topology topology_of(std::span<const RankPlace> places, int rank);

/// this_place() of every rank, gathered; nodes are the transport's. Collective.
Topology discover_topology(Transport& transport);

}  // namespace gyre
