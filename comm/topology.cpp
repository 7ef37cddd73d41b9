#include "comm/topology.hpp"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "comm/hwloc_tree.hpp"

namespace gyre {
namespace {

/// The process's affinity; all that it may use where the system does not tell.
HwlocBitmap binding(hwloc_topology_t tree) {
  HwlocBitmap bound(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(tree, bound.get(), HWLOC_CPUBIND_PROCESS) != 0 || hwloc_bitmap_iszero(bound.get())) {
    hwloc_bitmap_copy(bound.get(), hwloc_topology_get_allowed_cpuset(tree));
  }
  return bound;
}

}  // namespace

int Topology::nodes() const {
  return node_of_rank.empty() ? 0 : *std::max_element(node_of_rank.begin(), node_of_rank.end()) + 1;
}

int Topology::default_threads() const {
  return std::max(1, bound_cores / sharing_ranks);
}

bool share_a_core(const RankPlace& a, const RankPlace& b) {
  if (a.host != b.host) return false;
  for (std::size_t word = 0; word < a.hardware_threads.size(); ++word) {
    if (a.hardware_threads[word] & b.hardware_threads[word]) return true;
  }
  return false;
}

RankPlace this_place() {
  const HwlocTree tree = load_tree();
  const HwlocBitmap bound = binding(tree.get());
  RankPlace place{.cores = 0, .numa_nodes = 0, .process = getpid(), .node = node_cores(tree.get()), .host_name = host_name()};
  place.host = XXH3_64bits(place.host_name.data(), std::strlen(place.host_name.data()));
  for (hwloc_obj_t core = first_core(tree.get()); core; core = core->next_cousin) {
    if (!hwloc_bitmap_intersects(core->cpuset, bound.get())) continue;
    ++place.cores;
    for (int thread = hwloc_bitmap_first(core->cpuset); thread >= 0; thread = hwloc_bitmap_next(core->cpuset, thread)) {
      place.hardware_threads[thread / 64 % place.hardware_threads.size()] |= std::uint64_t{1} << (thread % 64);
    }
    for (int numa = hwloc_bitmap_first(core->nodeset); numa >= 0; numa = hwloc_bitmap_next(core->nodeset, numa)) {
      place.numa_nodes |= std::uint64_t{1} << (numa % 64);
    }
  }
  return place;
}

Topology topology_of(std::span<const RankPlace> places, int rank) {
  Topology topology{.places = {places.begin(), places.end()}};
  std::unordered_map<std::uint64_t, int> node_of_host;
  for (const RankPlace& place : places) {
    topology.node_of_rank.push_back(node_of_host.emplace(place.host, static_cast<int>(node_of_host.size())).first->second);
  }
  const RankPlace& mine = places[rank];
  topology.bound_cores = static_cast<int>(std::max<std::int64_t>(1, mine.cores));
  const auto sharing =
      std::count_if(places.begin(), places.end(), [&](const RankPlace& place) { return share_a_core(mine, place); });
  topology.sharing_ranks = static_cast<int>(std::max<std::ptrdiff_t>(1, sharing));
  return topology;
}

Topology discover_topology(Transport& transport) {
  std::vector<RankPlace> places(transport.ranks());
  all_gather_value(transport, this_place(), std::span(places));
  Topology topology = topology_of(places, transport.rank());
  topology.node_of_rank.assign(transport.nodes().begin(), transport.nodes().end());
  return topology;
}

}  // namespace gyre
