#include "comm/topology.hpp"

#include <hwloc.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <unordered_map>

namespace gyre {
namespace {

struct DestroyTopology {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
struct FreeBitmap {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Machine = std::unique_ptr<hwloc_topology, DestroyTopology>;
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

std::uint64_t host_hash() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) throw std::runtime_error("gethostname failed: this host has no name");
  return XXH3_64bits(name.data(), std::string(name.data()).size());
}

/// Cores and hardware threads alone, from what the system says of itself. hwloc's x86 component would bind the calling thread to
/// every core in turn, which is no thing to do beside running threads.
Machine load_machine() {
  hwloc_topology_t machine = nullptr;
  if (hwloc_topology_init(&machine) != 0) throw std::runtime_error("hwloc cannot make a topology");
  Machine owned(machine);
  hwloc_topology_set_components(machine, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  hwloc_topology_set_all_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_type_filter(machine, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(machine) != 0) throw std::runtime_error("hwloc cannot read this machine's topology");
  return owned;
}

/// The process's affinity; all that it may use where the system does not tell.
Bitmap binding(hwloc_topology_t machine) {
  Bitmap bound(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(machine, bound.get(), HWLOC_CPUBIND_PROCESS) != 0 || hwloc_bitmap_iszero(bound.get())) {
    hwloc_bitmap_copy(bound.get(), hwloc_topology_get_allowed_cpuset(machine));
  }
  return bound;
}

bool overlap(const RankPlace& a, const RankPlace& b) {
  if (a.host != b.host) return false;
  for (std::size_t word = 0; word < a.hardware_threads.size(); ++word) {
    if (a.hardware_threads[word] & b.hardware_threads[word]) return true;
  }
  return false;
}

}  // namespace

int Topology::nodes() const {
  return node_of_rank.empty() ? 0 : *std::max_element(node_of_rank.begin(), node_of_rank.end()) + 1;
}

int Topology::default_threads() const {
  return std::max(1, bound_cores / sharing_ranks);
}

RankPlace this_place() {
  const Machine machine = load_machine();
  const Bitmap bound = binding(machine.get());
  // A machine whose cores are not known (some virtual ones) is counted by hardware threads.
  const int kind = hwloc_get_type_or_below_depth(machine.get(), HWLOC_OBJ_CORE);
  RankPlace place{.host = host_hash(), .cores = 0};
  for (hwloc_obj_t core = hwloc_get_obj_by_depth(machine.get(), kind, 0); core; core = core->next_cousin) {
    if (!hwloc_bitmap_intersects(core->cpuset, bound.get())) continue;
    ++place.cores;
    for (int thread = hwloc_bitmap_first(core->cpuset); thread >= 0; thread = hwloc_bitmap_next(core->cpuset, thread)) {
      place.hardware_threads[thread / 64 % place.hardware_threads.size()] |= std::uint64_t{1} << (thread % 64);
    }
  }
  return place;
}

Topology topology_of(std::span<const RankPlace> places, int rank) {
  Topology topology;
  std::unordered_map<std::uint64_t, int> node_of_host;
  for (const RankPlace& place : places) {
    topology.node_of_rank.push_back(node_of_host.emplace(place.host, static_cast<int>(node_of_host.size())).first->second);
  }
  const RankPlace& mine = places[rank];
  topology.bound_cores = static_cast<int>(std::max<std::int64_t>(1, mine.cores));
  const auto sharing = std::count_if(places.begin(), places.end(), [&](const RankPlace& place) { return overlap(mine, place); });
  topology.sharing_ranks = static_cast<int>(std::max<std::ptrdiff_t>(1, sharing));
  return topology;
}

Topology discover_topology(Transport& transport) {
  const RankPlace mine = this_place();
  std::vector<RankPlace> places(transport.ranks());
  all_gather_value(transport, mine, std::span(places));
  Topology topology = topology_of(places, transport.rank());
  topology.node_of_rank.assign(transport.nodes().begin(), transport.nodes().end());
  return topology;
}

}  // namespace gyre
