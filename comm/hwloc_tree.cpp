#include "comm/hwloc_tree.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace gyre {

HwlocTree load_tree(const std::string& synthetic) {
  hwloc_topology_t tree = nullptr;
  if (hwloc_topology_init(&tree) != 0) throw std::runtime_error("hwloc cannot make a topology");
  HwlocTree owned(tree);
  if (!synthetic.empty() && hwloc_topology_set_synthetic(tree, synthetic.c_str()) != 0)
    throw std::runtime_error("hwloc does not understand the machine '" + synthetic + "'");
  // The system's own word alone: hwloc's x86 component would bind the calling thread to every core in turn, which is no thing to do
  // beside running threads.
  if (synthetic.empty()) hwloc_topology_set_components(tree, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  hwloc_topology_set_all_types_filter(tree, HWLOC_TYPE_FILTER_KEEP_NONE);
  for (const hwloc_obj_type_t type : {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L1CACHE, HWLOC_OBJ_CORE})
    hwloc_topology_set_type_filter(tree, type, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(tree) != 0) throw std::runtime_error("hwloc cannot read this machine's topology");
  return owned;
}

hwloc_obj_t first_core(hwloc_topology_t tree) {
  return hwloc_get_obj_by_depth(tree, hwloc_get_type_or_below_depth(tree, HWLOC_OBJ_CORE), 0);
}

int cores_inside(hwloc_topology_t tree, hwloc_const_cpuset_t set) {
  int count = 0;
  for (hwloc_obj_t core = first_core(tree); core; core = core->next_cousin) count += hwloc_bitmap_intersects(core->cpuset, set);
  return count;
}

int count_objects(hwloc_topology_t tree, hwloc_obj_type_t type) {
  return std::max(0, hwloc_get_nbobjs_by_type(tree, type));
}

NodeCores node_cores(hwloc_topology_t tree) {
  NodeCores node{.cores = 0, .numa_nodes = 0, .least_cores_of_numa_node = std::numeric_limits<std::int32_t>::max()};
  for (hwloc_obj_t core = first_core(tree); core; core = core->next_cousin) {
    ++node.cores;
    node.threads_per_core = std::max(node.threads_per_core, hwloc_bitmap_weight(core->cpuset));
  }
  for (hwloc_obj_t numa = hwloc_get_obj_by_type(tree, HWLOC_OBJ_NUMANODE, 0); numa; numa = numa->next_cousin) {
    const int cores = cores_inside(tree, numa->cpuset);
    if (cores == 0) continue;  // memory alone
    ++node.numa_nodes;
    node.least_cores_of_numa_node = std::min(node.least_cores_of_numa_node, cores);
  }
  if (node.numa_nodes == 0) node.numa_nodes = 1, node.least_cores_of_numa_node = node.cores;
  node.caches = std::max(1, count_objects(tree, HWLOC_OBJ_L3CACHE));
  return node;
}

}  // namespace gyre
