// Who watches whom. What is seen is tested on hosts (tests/launch/test_hosts.py).
#include <vector>

#include "comm/presence.hpp"
#include "support/catch.hpp"

using namespace gyre;

TEST_CASE("every rank is watched by the first rank of another node behind it, and nobody where there is one node") {
  const std::vector<int> three_nodes{0, 0, 1, 1, 2, 2};
  std::vector<int> watchers;
  for (int rank = 0; rank < 6; ++rank) watchers.push_back(watcher_of(three_nodes, rank));
  REQUIRE(watchers == std::vector<int>{2, 2, 4, 4, 0, 0});
  REQUIRE(watcher_of(std::vector<int>{0, 0, 0}, 1) == -1);
  REQUIRE(watcher_of(std::vector<int>{0}, 0) == -1);
}

TEST_CASE("of a node that is lost, whole, a rank of another node knows, however ranks are dealt") {
  for (const std::vector<int>& nodes :
       {std::vector<int>{0, 1, 0, 1}, std::vector<int>{0, 1, 1, 1}, std::vector<int>{0, 1, 2, 2, 1}})
    for (int rank = 0; rank < std::ssize(nodes); ++rank) REQUIRE(nodes[watcher_of(nodes, rank)] != nodes[rank]);
}
