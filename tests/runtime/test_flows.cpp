// Rates of flows that share links, against what can be worked out by hand and against filling all links at once.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "runtime/flows.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

Machine machine_of(double port, double link) {
  Machine machine;
  machine.node.bytes_per_second = 10 * port;
  machine.network.bytes_per_second = port;
  machine.link_bytes_per_second = link;
  return machine;
}

struct Load {
  int from, to;
  double bytes, rate = 0;
};

/// All flows grow alike; those of a link that is full stop there (Bertsekas and Gallager, 6.5.2).
void fill(std::vector<Load>& loads, const Machine& machine, const std::vector<int>& nodes) {
  std::map<std::array<int, 2>, std::vector<Load*>> links;  // by kind and rank or node
  std::map<std::array<int, 2>, double> room;
  for (Load& load : loads) {
    load.rate = 0;
    const bool far = nodes[load.from] != nodes[load.to];
    const auto passes = [&](int kind, int which, double bytes_per_second) {
      links[{kind, which}].push_back(&load), room[{kind, which}] = bytes_per_second;
    };
    passes(far ? 0 : 1, load.from, far ? machine.network.bytes_per_second : machine.node.bytes_per_second);
    passes(far ? 2 : 3, load.to, far ? machine.network.bytes_per_second : machine.node.bytes_per_second);
    if (!far) continue;
    passes(4, nodes[load.from], machine.link_bytes_per_second);
    passes(5, nodes[load.to], machine.link_bytes_per_second);
  }
  while (std::any_of(loads.begin(), loads.end(), [](const Load& load) { return load.rate == 0; })) {
    double least = Flows::kNever;
    std::array<int, 2> narrowest{};
    for (const auto& [link, on] : links) {
      const auto open = std::count_if(on.begin(), on.end(), [](const Load* load) { return load->rate == 0; });
      double left = room[link];
      for (const Load* load : on) left -= load->rate;
      if (open > 0 && left / static_cast<double>(open) < least) least = left / static_cast<double>(open), narrowest = link;
    }
    for (Load* load : links[narrowest])
      if (load->rate == 0) load->rate = least;
  }
}

}  // namespace

TEST_CASE("what a flow cannot use of its share, because it is narrower elsewhere, is given to the others") {
  const Machine machine = machine_of(6, 100);
  const std::vector<int> nodes{0, 1, 2, 3, 4};
  Flows flows(machine, nodes);
  // Rank 2 is asked to take three flows: 2 a second each. So rank 0 has 4 left for rank 1.
  const auto wide = flows.start(0, 1, 40, 0);
  for (const int from : {0, 3, 4}) flows.start(from, 2, 40, 0);
  CHECK(flows.next_end() == Approx(10));
  CHECK(flows.take() == wide);
  CHECK(flows.next_end() == Approx(20));
}

TEST_CASE("whatever comes and goes, every flow has its max-min fair rate") {
  Random random(31);
  for (int round = 0; round < 300; ++round) {
    const auto ranks = static_cast<int>(draw(random, 2, 12)), per_node = static_cast<int>(draw(random, 1, 3));
    const Machine machine = machine_of(static_cast<double>(draw(random, 1, 3)), static_cast<double>(draw(random, 1, 4)));
    std::vector<int> nodes(ranks);
    for (int rank = 0; rank < ranks; ++rank) nodes[rank] = rank / per_node;
    INFO("round " << round << ", " << ranks << " ranks, " << per_node << " a node");
    Flows flows(machine, nodes);
    std::map<std::uint32_t, Load> going;
    double now = 0;
    for (int step = 0; step < 40; ++step) {
      for (auto count = draw(random, 0, 3); count > 0 || going.empty(); --count) {
        const auto from = static_cast<int>(draw(random, 0, ranks - 1));
        const auto to = static_cast<int>((from + draw(random, 1, ranks - 1)) % ranks);
        const std::int64_t bytes = draw(random, 1, 1000);
        going[flows.start(from, to, bytes, now)] = {from, to, static_cast<double>(bytes)};
      }
      std::vector<Load> loads;
      for (const auto& [number, load] : going) loads.push_back(load);
      fill(loads, machine, nodes);
      double first = Flows::kNever;
      for (const Load& load : loads) first = std::min(first, now + load.bytes / load.rate);
      REQUIRE(flows.next_end() == Approx(first).epsilon(1e-5));
      std::size_t index = 0;
      for (auto& [number, load] : going) load.bytes = std::max(0.0, load.bytes - loads[index++].rate * (first - now));
      now = flows.next_end();
      const std::uint32_t ended = flows.take();
      CHECK(going.at(ended).bytes == Approx(0).margin(1e-2));
      going.erase(ended);
    }
  }
}
