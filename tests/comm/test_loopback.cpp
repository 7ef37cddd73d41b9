// What is loopback's own: nothing is buffered, and ranks fail together.
#include <array>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "comm/error.hpp"
#include "comm/over_loopback.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace contract;
using Catch::Matchers::Contains;

namespace {

/// What every rank but `thrower` suffers, when `thrower` throws while the others do `wait`.
std::vector<std::string> losses(int ranks, int thrower, const std::function<void(Transport&)>& wait) {
  std::vector<std::string> lost(ranks);
  REQUIRE_THROWS_WITH(run_loopback(ranks,
                                   [&](Transport& transport) {
                                     if (transport.rank() == thrower) throw std::domain_error("no more heads");
                                     try {
                                       for (;;) wait(transport);
                                     } catch (const LostPeer& error) {
                                       lost[transport.rank()] = error.what();
                                       throw;
                                     }
                                   }),
                      "no more heads");
  lost.erase(lost.begin() + thrower);
  return lost;
}

}  // namespace

TEST_CASE("a send over loopback stays incomplete until its receive is posted") {
  const auto clause = [](Transport& transport) -> std::string {
    std::vector<std::byte> bytes(1, std::byte{static_cast<unsigned char>(transport.rank())});
    if (transport.rank() == 0) {
      const Ticket ticket = transport.send(1, 0, bytes);
      for (int call = 0; call < 1000; ++call) {
        if (transport.test(ticket)) return "complete without a receive";
      }
      transport.barrier();
      transport.barrier();
      return transport.test(ticket) ? "" : "incomplete after the receive was posted";
    }
    transport.barrier();
    const Ticket other_lane = transport.receive(0, 1, {});
    if (transport.test(other_lane)) return "a receive was met by a send of another lane";
    const Ticket ticket = transport.receive(0, 0, bytes);
    transport.barrier();
    if (!transport.test(ticket)) return "incomplete after both sides were posted";
    return bytes[0] == std::byte{0} ? "" : "wrong byte";
  };
  REQUIRE(over_loopback(2, clause) == "");
}

TEST_CASE("a rank that throws releases ranks that wait for a transfer, progress or meet") {
  const std::vector<std::function<void(Transport&)>> waits{
      [](Transport& transport) {
        std::byte byte{};
        const Ticket ticket = transport.receive((transport.rank() + 1) % transport.ranks(), 0, std::span(&byte, 1));
        while (!transport.test(ticket)) {
        }
      },
      [](Transport& transport) { transport.progress(); },
      [](Transport& transport) { transport.barrier(); },
      [](Transport& transport) { maximum_over_ranks(transport, 1.0); },
  };
  for (const auto& wait : waits) {
    for (const int thrower : {0, 2}) {
      for (const std::string& lost : losses(4, thrower, wait)) {
        REQUIRE(lost == "rank " + std::to_string(thrower) + " failed: no more heads");
      }
    }
  }
}

TEST_CASE("posting to a failed loopback world throws") {
  std::atomic<bool> lost = false;
  REQUIRE_THROWS_AS(run_loopback(2,
                                 [&](Transport& transport) {
                                   if (transport.rank() == 0) throw std::domain_error("early");
                                   try {
                                     for (;;) transport.progress();
                                   } catch (const LostPeer&) {
                                   }
                                   try {
                                     transport.send(0, 0, {});
                                   } catch (const LostPeer&) {
                                     lost = true;
                                   }
                                 }),
                    std::domain_error);
  REQUIRE(lost);
}

TEST_CASE("unequal sizes are an error on both ranks that names ranks, lane and sizes") {
  for (int round = 0; round < 100; ++round) {  // whoever finds it first must not turn the other's error into a LostPeer
    const std::size_t sent = std::array<std::size_t, 3>{8, 16, 0}[round % 3];
    const std::size_t expected = std::array<std::size_t, 3>{16, 8, 1}[round % 3];
    std::vector<std::string> errors(2);
    run_loopback(2, [&](Transport& transport) { errors[transport.rank()] = error_of_unequal_sizes(transport, sent, expected); });
    REQUIRE(errors[0] == "rank 0 sends " + std::to_string(sent) + " bytes, rank 1 receives " + std::to_string(expected) +
                             " bytes on lane 3; both sides must post the same size");
    REQUIRE(errors[1] == errors[0]);
  }
}

TEST_CASE("abort over loopback ends every rank with its message") {
  std::vector<std::string> lost(3);
  REQUIRE_THROWS_WITH(run_loopback(3,
                                   [&](Transport& transport) {
                                     try {
                                       if (transport.rank() == 1) transport.abort(3, "the link is down");
                                       transport.barrier();
                                     } catch (const LostPeer& error) {
                                       lost[transport.rank()] = error.what();
                                       throw;
                                     }
                                   }),
                      "rank 1 ended the job with status 3: the link is down");
  for (const std::string& message : lost) REQUIRE(message == "rank 1 ended the job with status 3: the link is down");
}

TEST_CASE("a rank that ends while others wait for it is lost to them") {
  REQUIRE_THROWS_WITH(run_loopback(2,
                                   [](Transport& transport) {
                                     if (transport.rank() == 1) return;
                                     const Ticket ticket = transport.receive(1, 5, {});
                                     while (!transport.test(ticket)) {
                                     }
                                   }),
                      "rank 1 has ended while rank 0 waits for it on lane 5");
  REQUIRE_THROWS_AS(run_loopback(3,
                                 [](Transport& transport) {
                                   if (transport.rank() != 1) transport.barrier();
                                 }),
                    LostPeer);
}

TEST_CASE("ranks that call different collectives are told so") {
  REQUIRE_THROWS_WITH(run_loopback(2,
                                   [](Transport& transport) {
                                     std::byte byte{};
                                     if (transport.rank() == 0) transport.barrier();
                                     if (transport.rank() == 1) transport.broadcast(std::span(&byte, 1), 1);
                                   }),
                      Contains("same ones in the same order"));
}

TEST_CASE("a loopback world needs a rank and gives out only its own") {
  REQUIRE_THROWS_AS(run_loopback(0, [](Transport&) {}), std::invalid_argument);
  LoopbackWorld world(2);
  REQUIRE_THROWS_AS(world.transport(2), std::invalid_argument);
  REQUIRE_THROWS_AS(world.transport(-1), std::invalid_argument);
}
