#include "launch/placement_warnings.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>

#include "launch/launch_line.hpp"

namespace gyre {
namespace {

using Group = std::vector<int>;  // ranks, ascending

/// Ranks of each host, by the host's lowest rank.
std::vector<Group> hosts_of(std::span<const RankPlace> places) {
  std::vector<Group> hosts;
  std::map<std::uint64_t, std::size_t> index;
  for (int rank = 0; rank < static_cast<int>(places.size()); ++rank) {
    const std::size_t host = index.emplace(places[rank].host, hosts.size()).first->second;
    if (host == hosts.size()) hosts.emplace_back();
    hosts[host].push_back(rank);
  }
  return hosts;
}

/// Ranks of a host that share cores, directly or through others, with ranks of another process.
std::vector<Group> sharing_groups(std::span<const RankPlace> places, const Group& host) {
  std::vector<int> leader(host.size());
  std::iota(leader.begin(), leader.end(), 0);
  const auto find = [&](int i) {
    while (leader[i] != i) i = leader[i];
    return i;
  };
  for (int a = 0; a < static_cast<int>(host.size()); ++a)
    for (int b = 0; b < a; ++b)
      if (places[host[a]].process != places[host[b]].process && share_a_core(places[host[a]], places[host[b]])) {
        const int one = find(a), other = find(b);
        leader[std::max(one, other)] = std::min(one, other);
      }
  std::map<int, Group> by_leader;
  for (int i = 0; i < static_cast<int>(host.size()); ++i) by_leader[find(i)].push_back(host[i]);
  std::vector<Group> groups;
  for (auto& [first, group] : by_leader)
    if (group.size() > 1) groups.push_back(std::move(group));
  return groups;
}

int cores_of(std::span<const RankPlace> places, const Group& group) {
  int hardware_threads = 0;
  for (std::size_t word = 0; word < places[group[0]].hardware_threads.size(); ++word) {
    std::uint64_t together = 0;
    for (const int rank : group) together |= places[rank].hardware_threads[word];
    hardware_threads += std::popcount(together);
  }
  return std::max(1, hardware_threads / std::max(1, places[group[0]].node.threads_per_core));
}

std::string count_text(int count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

/// Ranks of a host that a predicate picks.
template <class Predicate>
Group picked(const Group& host, Predicate&& predicate) {
  Group group;
  std::copy_if(host.begin(), host.end(), std::back_inserter(group), predicate);
  return group;
}

std::string each_of(const Group& group) {
  return (group.size() == 1 ? "rank " : "each of ranks ") + ranges_text(group);
}

std::string remedy_line(const NodeCores& node, int ranks, int nodes) {
  return joined(launch_line(node, ranks, nodes).mpirun);
}

}  // namespace

std::string ranges_text(std::span<const int> ascending) {
  std::string text;
  for (std::size_t i = 0; i < ascending.size();) {
    std::size_t last = i;
    while (last + 1 < ascending.size() && ascending[last + 1] == ascending[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(ascending[i]);
    if (last > i) text += "-" + std::to_string(ascending[last]);
    i = last + 1;
  }
  return text;
}

void require_few_threads(std::span<const RankPlace> places, std::span<const int> threads) {
  for (const Group& host : hosts_of(places)) {
    const RankPlace& first = places[host[0]];
    const int hardware_threads = first.node.cores * first.node.threads_per_core;
    const std::int64_t limit = std::clamp<std::int64_t>(16LL * hardware_threads, 256, 4096);
    std::int64_t all = 0;
    for (const int rank : host) all += threads[rank];
    if (all > limit)
      throw std::invalid_argument(count_text(static_cast<int>(host.size()), "rank") + " of up to " +
                                  count_text(*std::max_element(threads.begin(), threads.end()), "thread") + " are " +
                                  std::to_string(all) + " threads on " + first.host_name.data() + ", which has " +
                                  count_text(hardware_threads, "hardware thread") + " (limit " + std::to_string(limit) +
                                  "); lower --threads or --ranks, or use more nodes");
  }
}

std::vector<std::string> placement_warnings(std::span<const RankPlace> places, std::span<const int> threads) {
  std::vector<std::string> warnings;
  const std::vector<Group> hosts = hosts_of(places);
  const int nodes = static_cast<int>(hosts.size());
  const int ranks = static_cast<int>(places.size());
  for (const Group& host : hosts) {
    const RankPlace& first = places[host[0]];
    for (const Group& group : sharing_groups(places, host)) {
      const int busy = std::accumulate(group.begin(), group.end(), 0, [&](int sum, int rank) { return sum + threads[rank]; });
      const std::string remedy = static_cast<int>(host.size()) > first.node.cores
                                     ? "start at most " + count_text(first.node.cores, "rank") + " on it"
                                     : "give each its own: " + remedy_line(first.node, ranks, nodes);
      warnings.push_back("ranks " + ranges_text(group) + " share " + count_text(cores_of(places, group), "core") + " of " +
                         first.host_name.data() + " for " + count_text(busy, "thread") + "; " + remedy);
    }
    const Group crowded = picked(host, [&](int rank) { return threads[rank] > places[rank].cores; });
    if (!crowded.empty()) {
      const auto by_threads = [&](int a, int b) { return threads[a] < threads[b]; };
      const auto [least, most] = std::minmax_element(crowded.begin(), crowded.end(), by_threads);
      warnings.push_back(each_of(crowded) + (threads[*least] < threads[*most] ? " runs up to " : " runs ") +
                         count_text(threads[*most], "thread") + ", more than the " +
                         count_text(static_cast<int>(places[crowded[0]].cores), "core") + " of " + first.host_name.data() +
                         " that it is bound to; give it fewer, or bind it to more cores (gyre topo has lines for that)");
    }
    const Group crossing = picked(host, [&](int rank) { return threads[rank] > 1 && std::popcount(places[rank].numa_nodes) > 1; });
    if (!crossing.empty())
      warnings.push_back("the threads of " + each_of(crossing) + " cross NUMA nodes of " + first.host_name.data() +
                         ", and a node's memory is slow for another's cores; start a rank for each: " +
                         remedy_line(first.node, std::max(ranks, first.node.numa_nodes * nodes), nodes));
  }
  return warnings;
}

}  // namespace gyre
