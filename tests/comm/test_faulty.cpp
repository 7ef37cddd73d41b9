// What is the faulty transport's own: order by seed, and only by seed.
#include <bit>
#include <set>
#include <stdexcept>
#include <vector>

#include "comm/over_loopback.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace contract;

namespace {

constexpr int kMessages = 8;

/// One rank sends itself a message on each of eight lanes and polls them in turn: which completed at which call.
std::vector<std::pair<int, int>> completions(Faults faults) {
  std::vector<std::pair<int, int>> log;
  run_loopback(1, [&](Transport& inner) {
    const auto transport = faulty_transport(inner, faults);
    std::vector<Ticket> sends, receives;
    for (int lane = 0; lane < kMessages; ++lane) {
      sends.push_back(transport->send(0, lane, {}));
      receives.push_back(transport->receive(0, lane, {}));
    }
    std::set<int> waiting;
    for (int lane = 0; lane < kMessages; ++lane) waiting.insert(lane);
    for (int call = 0; !waiting.empty(); ++call) {
      transport->progress();
      std::erase_if(waiting, [&](int lane) {
        if (!transport->test(receives[lane])) return false;
        log.emplace_back(lane, call);
        return true;
      });
    }
    for (const Ticket ticket : sends) {
      while (!transport->test(ticket)) {
      }
    }
  });
  return log;
}

std::vector<int> order(const std::vector<std::pair<int, int>>& log) {
  std::vector<int> lanes;
  for (const auto& [lane, call] : log) lanes.push_back(lane);
  return lanes;
}

}  // namespace

TEST_CASE("seeds complete transfers in different orders") {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) orders.insert(order(completions({.seed = seed})));
  REQUIRE(orders.size() >= 5);
}

TEST_CASE("exactly one bit of the receive that is asked for is flipped") {
  for (std::int64_t flip = 0; flip < 4; ++flip) {
    std::vector<int> wrong_bits(4, 0);  // [message]
    std::vector<std::pair<int, std::int64_t>> heard;
    run_loopback(1, [&](Transport& inner) {
      const auto transport = faulty_transport(
          inner,
          {.longest_delay = 0, .flip_after = flip, .flipped = [&](int peer, std::int64_t bit) { heard.emplace_back(peer, bit); }});
      for (int message = 0; message < 4; ++message) {
        const std::vector<std::byte> sent(10 + message, std::byte{0x5a});
        std::vector<std::byte> received(sent.size());
        const Ticket empty = transport->send(0, 1, {}), none = transport->receive(0, 1, {});
        const Ticket send = transport->send(0, 0, sent), receive = transport->receive(0, 0, received);
        for (const Ticket ticket : {empty, none, send, receive}) {
          while (!transport->test(ticket)) {
          }
        }
        for (std::size_t i = 0; i < sent.size(); ++i)
          wrong_bits[message] += std::popcount(std::to_integer<unsigned>(sent[i] ^ received[i]));
      }
    });
    std::vector<int> expected(4, 0);
    expected[flip] = 1;
    CHECK(wrong_bits == expected);
    CHECK(heard.size() == 1);
  }
}

TEST_CASE("one seed always completes transfers at the same calls") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) REQUIRE(completions({.seed = seed}) == completions({.seed = seed}));
}

TEST_CASE("without delays nothing is held back") {
  for (const auto& [lane, call] : completions({.seed = 1, .longest_delay = 0})) REQUIRE(call <= 1);
  REQUIRE_THROWS_AS(completions({.seed = 1, .longest_delay = -1}), std::invalid_argument);
}

TEST_CASE("a faulty transport passes unequal sizes on as the error of that transfer") {
  std::vector<std::string> errors(2);
  run_loopback(2, [&](Transport& inner) {
    const auto transport = faulty_transport(inner, {.seed = 3});
    errors[inner.rank()] = error_of_unequal_sizes(*transport, 8, 16);
  });
  REQUIRE(errors[0] == "rank 0 sends 8 bytes, rank 1 receives 16 bytes on lane 3; both sides must post the same size");
  REQUIRE(errors[1] == errors[0]);
}

TEST_CASE("a rank that blocks in a collective holds nothing back that others need to get there") {
  const auto clause = [](Transport& transport) -> std::string {
    std::byte byte{};
    const Ticket ticket =
        transport.rank() == 0 ? transport.send(1, 0, std::span(&byte, 1)) : transport.receive(0, 0, std::span(&byte, 1));
    while (transport.rank() == 1 && !transport.test(ticket)) {
    }
    transport.barrier();
    while (transport.rank() == 0 && !transport.test(ticket)) {
    }
    return "";
  };
  REQUIRE(over_faulty_loopback(2, {.seed = 2, .longest_delay = 1000}, clause) == "");
}
