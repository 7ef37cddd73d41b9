// synthetic_machine DESCRIPTION FILE RANKS NODES: writes hwloc's XML of a machine that is not here, and prints cores, NUMA nodes,
// threads and the mpirun line of that many ranks on that many of them.
#include <hwloc.h>

#include <cstdio>
#include <cstdlib>

#include "launch/launch_line.hpp"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  hwloc_topology_t tree = nullptr;
  hwloc_topology_init(&tree);
  if (hwloc_topology_set_synthetic(tree, argv[1]) != 0 || hwloc_topology_load(tree) != 0) return 2;
  const int failed = hwloc_topology_export_xml(tree, argv[2], 0);
  hwloc_topology_destroy(tree);
  const gyre::NodeCores node = gyre::synthetic_hardware(argv[1]).node;
  const gyre::LaunchLine line = gyre::launch_line(node, std::atoi(argv[3]), std::atoi(argv[4]));
  std::printf("%d %d %d\n%s\n", node.cores, node.numa_nodes, line.threads, gyre::joined(line.mpirun).c_str());
  return failed == 0 ? 0 : 1;
}
