// Where ranks should run, and what is said where they do not: over machines and places that are not here.
#include <array>
#include <cstring>
#include <set>

#include "launch/launch_line.hpp"
#include "launch/open_mpi_settings.hpp"
#include "launch/placement_warnings.hpp"
#include "launch/topo_report.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

const char* const kTwoPackages = "package:2 numa:2 l3:1 l2:16 l1:1 core:1 pu:2";

/// A rank on whole cores [first, first + cores) of a host of `node`, whose threads are numbered core by core.
RankPlace place(const NodeCores& node, const char* host, int first, int cores, int process) {
  RankPlace result{.host = static_cast<std::uint64_t>(host[0]), .cores = cores, .numa_nodes = 0, .process = process, .node = node};
  std::strncpy(result.host_name.data(), host, result.host_name.size() - 1);
  for (int core = first; core < first + cores; ++core) {
    for (int thread = core * node.threads_per_core; thread < (core + 1) * node.threads_per_core; ++thread)
      result.hardware_threads[thread / 64] |= std::uint64_t{1} << (thread % 64);
    result.numa_nodes |= std::uint64_t{1} << (core / node.least_cores_of_numa_node);
  }
  return result;
}

constexpr NodeCores kTwoCores{.cores = 2, .numa_nodes = 1, .least_cores_of_numa_node = 2};
constexpr NodeCores kFourNuma{.cores = 64, .numa_nodes = 4, .least_cores_of_numa_node = 16, .caches = 4, .threads_per_core = 2};

std::string mpirun(const NodeCores& node, int ranks, int nodes = 1) {
  return joined(launch_line(node, ranks, nodes).mpirun);
}

}  // namespace

TEST_CASE("a big machine is read as hwloc describes it, hardware threads apart from cores") {
  const Hardware hardware = synthetic_hardware(kTwoPackages);
  REQUIRE(hardware.packages == 2);
  REQUIRE(hardware.hardware_threads == 128);
  REQUIRE(hardware.node.cores == 64);
  REQUIRE(hardware.node.numa_nodes == 4);
  REQUIRE(hardware.node.least_cores_of_numa_node == 16);
  REQUIRE(hardware.node.caches == 4);
  REQUIRE(hardware.node.threads_per_core == 2);
  REQUIRE(hardware.caches[2].count == 4);
  REQUIRE(hardware.caches[2].cores == 16);
  REQUIRE(hardware.caches[1].cores == 1);
}

TEST_CASE("a machine without cores, caches and packages still has hardware threads to run on") {
  const Hardware hardware = synthetic_hardware("pu:6");
  REQUIRE(hardware.node.cores == 6);
  REQUIRE(hardware.node.numa_nodes == 1);
  REQUIRE(hardware.node.least_cores_of_numa_node == 6);
  REQUIRE(hardware.caches[2].count == 0);
}

TEST_CASE("this machine has memory, cores and a name") {
  const Hardware hardware = this_hardware();
  REQUIRE(hardware.host[0] != '\0');
  REQUIRE(hardware.node.cores >= 1);
  REQUIRE(hardware.hardware_threads >= hardware.node.cores);
  REQUIRE(hardware.memory_bytes > 1 << 20);
  REQUIRE(hardware.available_bytes > 0);
  REQUIRE(hardware.available_bytes <= hardware.memory_bytes);
}

TEST_CASE("a rank count that NUMA nodes divide gets whole NUMA nodes or equal parts of them") {
  REQUIRE(mpirun(kFourNuma, 4) == "mpirun -n 4 --map-by ppr:1:numa:PE=16 --bind-to core");
  REQUIRE(mpirun(kFourNuma, 12) == "mpirun -n 12 --map-by ppr:3:numa:PE=5 --bind-to core");
  REQUIRE(mpirun(kFourNuma, 64) == "mpirun -n 64 --map-by ppr:16:numa:PE=1 --bind-to core");
  REQUIRE(mpirun(kFourNuma, 8, 2) ==
          std::string("mpirun -n 8 --map-by ppr:1:numa:PE=16 --bind-to core ") + joined(open_mpi_words()));
  REQUIRE(joined(open_mpi_words()) ==
          "--mca btl_tcp_rdma_pipeline_frag_size 262144 "
          "--mca oob_tcp_keepalive_time 3 "
          "--mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3");
}

TEST_CASE("ranks that are dealt a machine's cores in a row never straddle a NUMA border nor want more than there is") {
  for (const NodeCores node : {kFourNuma, kTwoCores, NodeCores{.cores = 12, .numa_nodes = 2, .least_cores_of_numa_node = 6},
                               NodeCores{.cores = 7, .numa_nodes = 1, .least_cores_of_numa_node = 7}})
    for (int ranks = 1; ranks <= node.cores; ++ranks) {
      const LaunchLine line = launch_line(node, ranks);
      INFO(joined(line.mpirun));
      REQUIRE(line.threads >= 1);
      REQUIRE(ranks * line.threads <= node.cores);
      if (line.mpirun[4].find(":node:") == std::string::npos) continue;
      for (int rank = 0; rank < ranks; ++rank)
        REQUIRE(rank * line.threads / node.least_cores_of_numa_node ==
                ((rank + 1) * line.threads - 1) / node.least_cores_of_numa_node);
    }
}

TEST_CASE("more ranks than cores share them by turns, with a thread each") {
  REQUIRE(mpirun(kTwoCores, 3) == "mpirun -n 3 --map-by core:OVERSUBSCRIBE --bind-to core:overload-allowed");
  REQUIRE(launch_line(kTwoCores, 3).threads == 1);
}

TEST_CASE("srun is told cores, not hardware threads") {
  const auto words = launch_line(kFourNuma, 8, 2).srun;
  REQUIRE(joined(words) == "srun --mpi=pmix -N 2 -n 8 -c 16 --hint=nomultithread --cpu-bind=cores");
  REQUIRE(joined(launch_line(kTwoCores, 3).srun) == "srun --mpi=pmix -N 1 -n 3 -c 2 --overcommit --cpu-bind=none");
}

TEST_CASE("what suits a machine is a rank for each NUMA node, last-level cache or core") {
  REQUIRE(suitable_ranks(kFourNuma) == std::vector<int>{4, 64});
  REQUIRE(suitable_ranks({.cores = 64, .numa_nodes = 1, .least_cores_of_numa_node = 64, .caches = 8}, 2) ==
          std::vector<int>{2, 16, 128});
}

TEST_CASE("ranks on cores of their own are not warned of, on one host or several") {
  const std::vector<RankPlace> places{place(kTwoCores, "a", 0, 1, 1), place(kTwoCores, "a", 1, 1, 2),
                                      place(kTwoCores, "b", 0, 2, 1)};
  REQUIRE(placement_warnings(places, std::array{1, 1, 2}).empty());
}

TEST_CASE("two ranks on one core are told which line gives each its own") {
  const std::vector<RankPlace> places{place(kTwoCores, "a", 0, 1, 1), place(kTwoCores, "a", 0, 1, 2)};
  const auto warnings = placement_warnings(places, std::array{1, 1});
  REQUIRE(warnings.size() == 1);
  REQUIRE(warnings[0] ==
          "ranks 0-1 share 1 core of a for 2 threads; give each its own: "
          "mpirun -n 2 --map-by ppr:2:node:PE=1 --bind-to core");
}

TEST_CASE("two ranks on the two hardware threads of one core do share it") {
  RankPlace one = place(kFourNuma, "a", 5, 1, 1), other = place(kFourNuma, "a", 5, 1, 2);
  REQUIRE(placement_warnings(std::vector{one, other}, std::array{1, 1})[0].starts_with("ranks 0-1 share 1 core of a"));
}

TEST_CASE("three ranks on two cores are told to be fewer") {
  const std::vector<RankPlace> places(3, place(kTwoCores, "a", 0, 2, 1));
  std::vector<RankPlace> apart = places;
  for (int rank = 0; rank < 3; ++rank) apart[rank].process = rank;
  const auto warnings = placement_warnings(apart, std::array{1, 1, 1});
  REQUIRE(warnings == std::vector<std::string>{"ranks 0-2 share 2 cores of a for 3 threads; start at most 2 ranks on it"});
}

TEST_CASE("ranks of one process share its cores without a warning, because they were asked to") {
  const std::vector<RankPlace> places(3, place(kTwoCores, "a", 0, 2, 7));
  REQUIRE(placement_warnings(places, std::array{1, 1, 1}).empty());
}

TEST_CASE("groups of ranks that share different cores are warned of apart, and ranks between two of them join those") {
  const std::vector<RankPlace> places{place(kFourNuma, "a", 0, 2, 1), place(kFourNuma, "a", 8, 2, 2),
                                      place(kFourNuma, "a", 9, 2, 3), place(kFourNuma, "a", 1, 2, 4),
                                      place(kFourNuma, "a", 2, 2, 5), place(kFourNuma, "b", 0, 2, 6)};
  const auto warnings = placement_warnings(places, std::array{1, 1, 1, 1, 1, 1});
  REQUIRE(warnings.size() == 2);
  REQUIRE(warnings[0].starts_with("ranks 0,3-4 share 4 cores of a for 3 threads"));
  REQUIRE(warnings[1].starts_with("ranks 1-2 share 3 cores of a for 2 threads"));
}

TEST_CASE("threads that cross NUMA nodes are told of a rank for each, and one thread crosses nothing") {
  const std::vector<RankPlace> places{place(kFourNuma, "a", 0, 32, 1), place(kFourNuma, "a", 32, 16, 2)};
  const auto warnings = placement_warnings(places, std::array{32, 16});
  REQUIRE(warnings.size() == 1);
  REQUIRE(warnings[0].starts_with("the threads of rank 0 cross NUMA nodes of a"));
  REQUIRE(warnings[0].ends_with("mpirun -n 4 --map-by ppr:1:numa:PE=16 --bind-to core"));
  REQUIRE(placement_warnings(places, std::array{1, 16}).empty());
}

TEST_CASE("more threads than the cores that a rank is bound to are warned of") {
  const std::vector<RankPlace> places{place(kTwoCores, "a", 0, 1, 1), place(kTwoCores, "a", 1, 1, 2)};
  const auto warnings = placement_warnings(places, std::array{2, 1});
  REQUIRE(warnings.size() == 1);
  REQUIRE(warnings[0].starts_with("rank 0 runs 2 threads, more than the 1 core of a that it is bound to"));
  REQUIRE(
      placement_warnings(places, std::array{2, 2})[0].starts_with("each of ranks 0-1 runs 2 threads, more than the 1 core of a"));
  REQUIRE(
      placement_warnings(places, std::array{2, 3})[0].starts_with("each of ranks 0-1 runs up to 3 threads, more than the 1 core"));
}

TEST_CASE("far more threads than a node has are refused, counted over its ranks and node by node") {
  const std::vector<RankPlace> places{place(kTwoCores, "a", 0, 2, 1), place(kTwoCores, "a", 0, 2, 1),
                                      place(kTwoCores, "b", 0, 2, 1)};
  REQUIRE_NOTHROW(require_few_threads(places, std::array{128, 128, 256}));
  REQUIRE_THROWS_WITH(
      require_few_threads(places, std::array{128, 129, 256}),
      "2 ranks of up to 256 threads are 257 threads on a, which has 2 hardware threads (limit 256); lower --threads "
      "or --ranks, or use more nodes");
  const std::vector<RankPlace> big{place(kFourNuma, "a", 0, 64, 1)};
  REQUIRE_NOTHROW(require_few_threads(big, std::array{16 * 128}));
  REQUIRE_THROWS_AS(require_few_threads(big, std::array{16 * 128 + 1}), std::invalid_argument);
}

TEST_CASE("ranks are written as ranges") {
  REQUIRE(ranges_text(std::vector<int>{}).empty());
  REQUIRE(ranges_text(std::vector{0, 1, 2, 3, 7, 9, 10}) == "0-3,7,9-10");
}

TEST_CASE("a report has a line for every rank with its host, its cores and who shares them") {
  TopoReport report{.places = {place(kTwoCores, "a", 0, 2, 1), place(kTwoCores, "a", 1, 1, 2), place(kTwoCores, "b", 0, 1, 1)},
                    .threads = {1, 1, 1},
                    .nodes = {Hardware{}, Hardware{}}};
  report.nodes[0].node = report.nodes[1].node = kTwoCores;
  const std::string text = to_text(report);
  REQUIRE(text.find("rank 0    a                2 cores (hardware threads 0-1), NUMA 0, 1 thread, shared with 1\n") != text.npos);
  REQUIRE(text.find("rank 2    b                1 core (hardware threads 0), NUMA 0, 1 thread, shared with nobody\n") != text.npos);
  REQUIRE(text.find("OMPI_ALLOW_RUN_AS_ROOT") == text.npos);
  report.root = true, report.suggested = {2};
  REQUIRE(to_text(report).find("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -n 2") != text.npos);
}
