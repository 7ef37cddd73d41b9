// hwloc's trees and bitmaps, owned. Private to comm/.
#pragma once

#include <hwloc.h>

#include <memory>
#include <string>

#include "comm/hardware.hpp"

namespace gyre {

struct DestroyTree {
  void operator()(hwloc_topology* tree) const { hwloc_topology_destroy(tree); }
};
struct FreeBitmap {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using HwlocTree = std::unique_ptr<hwloc_topology, DestroyTree>;
using HwlocBitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

/// Packages, NUMA nodes, caches, cores and hardware threads that this process's container may use; of this machine, or of the one
/// that `synthetic` describes in hwloc's notation unless that is empty. Throws std::runtime_error. Local.
HwlocTree load_tree(const std::string& synthetic = {});

/// The first object of the kind that cores are: hardware threads where cores are not known (some virtual machines). Others follow
/// as next_cousin.
hwloc_obj_t first_core(hwloc_topology_t tree);

/// Cores that have hardware threads in the set.
int cores_inside(hwloc_topology_t tree, hwloc_const_cpuset_t set);
int count_objects(hwloc_topology_t tree, hwloc_obj_type_t type);
NodeCores node_cores(hwloc_topology_t tree);

}  // namespace gyre
