#include <array>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "comm/topology.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

/// `cores` whole cores from `first` on, a hardware thread each.
RankPlace place(std::uint64_t host, int first, int cores) {
  RankPlace result{.host = host, .cores = cores};
  for (int core = first; core < first + cores; ++core) result.hardware_threads[core / 64] |= std::uint64_t{1} << (core % 64);
  return result;
}

}  // namespace

TEST_CASE("nodes are numbered by their lowest rank, in whatever order ranks are dealt to them") {
  const std::vector<RankPlace> places{place(7, 0, 1), place(3, 0, 1), place(3, 1, 1), place(7, 1, 1), place(5, 0, 1)};
  const Topology topology = topology_of(places, 0);
  REQUIRE(topology.node_of_rank == std::vector<int>{0, 1, 1, 0, 2});
  REQUIRE(topology.nodes() == 3);
}

TEST_CASE("ranks share cores only where their bindings overlap on one node") {
  const std::vector<RankPlace> places{place(1, 0, 8), place(1, 4, 8), place(1, 64, 8), place(2, 0, 8), place(1, 11, 4)};
  const std::array<int, 5> sharing{2, 3, 1, 1, 2};
  for (int rank = 0; rank < 5; ++rank) REQUIRE(topology_of(places, rank).sharing_ranks == sharing[rank]);
}

TEST_CASE("default threads divide the bound cores by the ranks that share them and are never none") {
  std::vector<RankPlace> places(4, place(1, 0, 8));
  REQUIRE(topology_of(places, 0).default_threads() == 2);
  places.assign(3, place(1, 0, 2));
  REQUIRE(topology_of(places, 2).default_threads() == 1);
  places = {place(1, 0, 4), place(1, 4, 4)};
  REQUIRE(topology_of(places, 1).default_threads() == 4);
}

TEST_CASE("ranks of one process are on one node and share all of its cores") {
  std::vector<Topology> seen(3);
  run_loopback(3, [&](Transport& transport) { seen[transport.rank()] = discover_topology(transport); });
  for (const Topology& topology : seen) {
    REQUIRE(topology.nodes() == 1);
    REQUIRE(topology.node_of_rank.size() == 3);
    REQUIRE(topology.sharing_ranks == 3);
    REQUIRE(topology.bound_cores >= 1);
    REQUIRE(topology.default_threads() >= 1);
  }
}
