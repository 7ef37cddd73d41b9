// What a node is made of, as ranks and threads are dealt to it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace gyre {

/// Ended by a zero.
using HostName = std::array<char, 72>;

/// As much of a node as decides how many ranks and threads go where. Those parts that this process may use: a container can have
/// less.
struct NodeCores {
  std::int32_t cores = 1;
  std::int32_t numa_nodes = 1;
  std::int32_t least_cores_of_numa_node = 1;  // of those that have any
  std::int32_t caches = 1;                    // last-level ones
  std::int32_t threads_per_core = 1;          // the most
};

/// Bytes of one data cache of a level, and the cores that share it; 0 where there is none, or the system does not tell.
struct CacheLevel {
  std::int64_t bytes = 0;
  std::int32_t count = 0;
  std::int32_t cores = 0;
};

struct Hardware {
  HostName host{};
  std::int32_t packages = 1;
  std::int32_t hardware_threads = 1;
  NodeCores node;
  std::array<CacheLevel, 3> caches{};  // of level 1, 2, 3
  // By the operating system, not by hwloc, whose numbers are wrong in virtual machines: what there is or the container's limit,
  // whichever is less, and what could be allocated now. 0 where the system does not tell.
  std::int64_t memory_bytes = 0;
  std::int64_t available_bytes = 0;
};

/// Of the node that this process runs on. Throws std::runtime_error. Local; takes a few milliseconds.
Hardware this_hardware();

/// Of a machine that is not here, in hwloc's notation: "package:2 numa:2 l3:1 l2:16 core:1 pu:2". Without memory and name.
Hardware synthetic_hardware(const std::string& description);

/// Throws std::runtime_error. Local.
HostName host_name();

}  // namespace gyre
