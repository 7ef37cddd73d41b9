#include "launch/launch_line.hpp"

#include <algorithm>
#include <utility>

#include "launch/open_mpi_settings.hpp"

namespace gyre {
namespace {

/// Cores of each of k ranks that are dealt the node's cores one after the other, so that none gets cores of two NUMA nodes: a
/// divisor of what a NUMA node has keeps its border between ranks.
int cores_in_a_row(const NodeCores& node, int k) {
  if (node.numa_nodes == 1) return node.cores / k;
  int cores = node.least_cores_of_numa_node;
  while (cores > 1 && (node.least_cores_of_numa_node % cores != 0 || node.least_cores_of_numa_node / cores * node.numa_nodes < k))
    --cores;
  return cores;
}

}  // namespace

LaunchLine launch_line(const NodeCores& node, int ranks, int nodes) {
  LaunchLine line{.ranks = ranks, .ranks_per_node = (ranks + nodes - 1) / nodes};
  const int k = line.ranks_per_node;
  line.mpirun = {"mpirun", "-n", std::to_string(ranks), "--map-by"};
  const auto resource = [&](int count, const std::string& object) {
    line.mpirun.push_back("ppr:" + std::to_string(count) + ":" + object + ":PE=" + std::to_string(line.threads));
  };
  if (k > node.cores) {
    line.mpirun.insert(line.mpirun.end(), {"core:OVERSUBSCRIBE", "--bind-to", "core:overload-allowed"});
  } else {
    if (node.numa_nodes > 1 && k % node.numa_nodes == 0 && k / node.numa_nodes <= node.least_cores_of_numa_node) {
      line.threads = node.least_cores_of_numa_node * node.numa_nodes / k;
      resource(k / node.numa_nodes, "numa");
    } else {
      line.threads = std::max(1, cores_in_a_row(node, k));
      resource(k, "node");
    }
    line.mpirun.insert(line.mpirun.end(), {"--bind-to", "core"});
  }
  if (nodes > 1)
    for (std::string& word : open_mpi_words()) line.mpirun.push_back(std::move(word));

  const bool crowded = k > node.cores;  // then all ranks get all cores: with -c 1, --overcommit gives them a single one
  const int cores = crowded ? node.cores : line.threads;
  line.srun = {"srun", "--mpi=pmix", "-N", std::to_string(nodes), "-n", std::to_string(ranks), "-c", std::to_string(cores)};
  if (node.threads_per_core > 1) line.srun.push_back("--hint=nomultithread");
  if (crowded) line.srun.push_back("--overcommit");
  line.srun.push_back(crowded ? "--cpu-bind=none" : "--cpu-bind=cores");
  return line;
}

std::vector<int> suitable_ranks(const NodeCores& node, int nodes) {
  std::vector<int> ranks{node.numa_nodes * nodes, node.caches * nodes, node.cores * nodes};
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

}  // namespace gyre
