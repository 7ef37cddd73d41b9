// Deadlines: who is taken for dead, who is not, and who says so. Over loopback; ending_job has the same cases under mpirun.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/error.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/heartbeat.hpp"
#include "comm/loopback_transport.hpp"
#include "comm/while_alive.hpp"
#include "support/catch.hpp"

using namespace gyre;
using Clock = std::chrono::steady_clock;

namespace {

constexpr double kDeadline = 0.6;
constexpr double kSilence = 2.5 * kDeadline;  // who is silent is spoken of after the deadline and 0.3 seconds of listening

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void compute(Transport& transport, double seconds) {
  for (const auto start = Clock::now(); seconds_since(start) < seconds;) {
    transport.progress();
    transport.heartbeat().beat();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void be_silent(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// Waits as an executor does.
void complete(Transport& transport, Ticket ticket, int peer) {
  if (transport.test(ticket)) return;
  Waiting waiting(transport.heartbeat(), peer);
  while (!transport.test(ticket)) {
    waiting.fruitless();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // many ranks share few cores here
  }
}

void receive_from(Transport& transport, int peer) {
  std::byte byte{};
  complete(transport, transport.receive(peer, 0, std::span(&byte, 1)), peer);
}
void send_to(Transport& transport, int peer) {
  const std::byte byte{};
  complete(transport, transport.send(peer, 0, std::span(&byte, 1)), peer);
}

struct Ending {
  std::vector<std::string> stalls{};  // one for every rank that said so
  std::string error{};                // what the job ended with
  double seconds = 0;
};

Ending ending_of(int ranks, const std::function<void(Transport&)>& body, double deadline = kDeadline) {
  Ending ending;
  std::mutex mutex;
  const auto start = Clock::now();
  try {
    run_loopback(ranks, [&](Transport& transport) {
      transport.heartbeat().set_deadline(deadline);
      transport.heartbeat().set_stage({"ring", 7});
      try {
        body(transport);
      } catch (const Stall& stall) {
        const std::lock_guard lock(mutex);
        ending.stalls.push_back(stall.what());
        throw;
      }
    });
  } catch (const std::exception& error) {
    ending.error = error.what();
  }
  ending.seconds = seconds_since(start);
  return ending;
}

void require_stall(const Ending& ending, const std::string& pattern) {
  CAPTURE(ending.error, ending.seconds);
  REQUIRE(ending.stalls.size() == 1);
  CHECK(std::regex_match(ending.stalls[0], std::regex(pattern)));
  CHECK(ending.error == ending.stalls[0]);
  CHECK(ending.seconds >= kDeadline);
}

}  // namespace

TEST_CASE("a rank that computes for longer than the deadline keeps everybody alive who waits for it, however indirectly",
          "[slow]") {
  for (const int ranks : {2, 3, 24}) {  // 24: a chain longer than the questions that fit into a deadline
    const Ending ending = ending_of(ranks, [&](Transport& transport) {
      const int next = transport.rank() + 1;
      if (next == ranks) compute(transport, 4 * kDeadline);
      if (next < ranks) receive_from(transport, next);
      if (transport.rank() > 0) send_to(transport, transport.rank() - 1);
    });
    CAPTURE(ranks, ending.error);
    REQUIRE(ending.error == "");
    REQUIRE(ending.seconds >= 4 * kDeadline);
  }
}

TEST_CASE("who waits for a silent rank says so alone, with both ranks, stage and time") {
  const Ending ending = ending_of(5, [](Transport& transport) {
    if (transport.rank() == 3) be_silent(kSilence);
    if (transport.rank() < 3) receive_from(transport, transport.rank() + 1);
    if (transport.rank() == 4) receive_from(transport, 0);
  });
  require_stall(ending,
                R"(rank 2 waits for rank 3, stage ring 7, for [0-9.]+ seconds; rank 3 does not answer \(deadline 0.6 seconds\))");
}

TEST_CASE("of many that wait for one silent rank, one speaks", "[slow]") {
  const Ending ending = ending_of(6, [](Transport& transport) {
    if (transport.rank() == 5)
      be_silent(kSilence);
    else if (transport.rank() % 2 == 0)
      receive_from(transport, 5);
    else
      send_to(transport, 5);
  });
  require_stall(ending, R"(rank [0-4] waits for rank 5, stage ring 7, for [0-9.]+ seconds; rank 5 does not answer.*)");
}

TEST_CASE("ranks that wait for each other in a circle do not keep each other alive", "[slow]") {
  for (const int ranks : {2, 3, 7}) {
    const Ending ending = ending_of(ranks, [](Transport& transport) {
      compute(transport, 0.05 * transport.rank());
      receive_from(transport, (transport.rank() + 1) % transport.ranks());
    });
    require_stall(ending,
                  "rank [0-6] waits for rank [0-6], stage ring 7, for [0-9.]+ seconds; rank [0-6] answers, but nothing moves.*");
    CHECK(ending.seconds < 3 * kDeadline);
  }
}

TEST_CASE("a lost message, a lost exposure and a lost release end the job", "[slow]") {
  for (const std::string lost : {"send", "receive", "expose", "borrow"}) {
    CAPTURE(lost);
    const bool message = lost == "send" || lost == "receive";
    const Ending ending = ending_of(2, [&](Transport& inner) {
      const bool mine = (lost == "send" || lost == "expose") == (inner.rank() == 0);
      const auto transport = faulty_transport(inner, {.stall_after = mine ? 5 : -1});
      for (int round = 0; round < 10; ++round) {
        if (message) {
          inner.rank() == 0 ? send_to(*transport, 1) : receive_from(*transport, 0);
        } else {
          complete(*transport, inner.rank() == 0 ? transport->expose(1, 8) : transport->borrow(0, 8), 1 - inner.rank());
          if (inner.rank() == 1) transport->release(0);
        }
      }
    });
    require_stall(ending,
                  "rank [01] waits for rank [01], stage ring 7, for [0-9.]+ seconds; rank [01] answers, but nothing moves.*");
  }
}

TEST_CASE("collectives wait under the deadline: for a computing rank as long as it takes, for a silent one not", "[slow]") {
  for (const bool silent : {false, true}) {
    const Ending ending = ending_of(4, [&](Transport& transport) {
      if (transport.rank() == 2) silent ? be_silent(kSilence) : compute(transport, 3 * kDeadline);
      transport.barrier();
      maximum_over_ranks(transport, 1.0);
    });
    if (silent) require_stall(ending, "rank [013] waits for rank 2, stage ring 7, for [0-9.]+ seconds; rank 2 does not answer.*");
    if (!silent) REQUIRE(ending.error == "");
  }
}

TEST_CASE("long local work answers through while_alive, and what it throws comes through") {
  constexpr double kShort = kDeadline / 2;
  const auto work = [](Transport& transport) {
    together(transport, [&] {
      if (transport.rank() == 1) while_alive(transport, [] { be_silent(2.5 * kShort); });
    });
  };
  const Ending ending = ending_of(3, work, kShort);
  REQUIRE(ending.error == "");
  run_loopback(1, [](Transport& transport) {
    REQUIRE_THROWS_AS(while_alive(transport, [] { throw std::out_of_range("no such row"); }), std::out_of_range);
  });
}

namespace {

/// Rank 0 of four, alone: says what it is told to hear, and keeps what it tells.
class ScriptedTransport : public Transport {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 4; }
  void reserve(std::size_t) override {}
  Ticket send(int, int, std::span<const std::byte>) override { return {}; }
  Ticket receive(int, int, std::span<std::byte>) override { return {}; }
  bool test(Ticket) override { return false; }
  void progress() override {}
  Ticket expose(int, std::size_t) override { return {}; }
  Ticket borrow(int, std::size_t) override { return {}; }
  void release(int) override {}
  std::span<const int> nodes() const override { return {}; }
  std::unique_ptr<SharedMemory> share(std::size_t) override { return nullptr; }
  void tell(int, const Signal& signal) override { told.push_back(signal); }
  bool hear(Signal& signal) override {
    if (heard.empty()) return false;
    signal = heard.back();
    heard.pop_back();
    return true;
  }
  bool gone(int) override { return false; }
  void all_gather(std::span<const std::byte>, std::span<std::byte>) override {}
  void broadcast(std::span<std::byte>, int) override {}
  void barrier() override {}
  [[noreturn]] void abort(int, std::string_view) override { throw LostPeer(""); }
  Traffic traffic() const override { return {}; }

  std::vector<Signal> told, heard;
};

using Script = std::function<Signal(std::uint64_t number)>;

/// What a wait for rank 1 of four deadlines ended with, and told others.
struct ScriptedWait {
  std::string stall{};
  std::vector<Signal> told{};
};

/// With what the script says heard every few milliseconds.
ScriptedWait wait_of(const Script& script) {
  ScriptedTransport transport;
  transport.heartbeat().set_deadline(0.2);
  Waiting waiting(transport.heartbeat(), 1);
  ScriptedWait wait;
  const auto start = Clock::now();
  for (std::uint64_t number = 1; seconds_since(start) < 0.8 && wait.stall.empty(); ++number) {
    transport.heard.push_back(script(number));
    try {
      waiting.fruitless();
    } catch (const Stall& stall) {
      wait.stall = stall.what();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  wait.told = transport.told;
  return wait;
}

/// One for each script, side by side.
std::vector<ScriptedWait> waits_of(const std::vector<Script>& scripts) {
  std::vector<ScriptedWait> waits(scripts.size());
  std::vector<std::jthread> threads;
  for (std::size_t index = 0; index < scripts.size(); ++index) {
    threads.emplace_back([&, index] { waits[index] = wait_of(scripts[index]); });
  }
  threads.clear();  // joins
  return waits;
}

Signal sign(int from, int origin, std::uint64_t number) {
  return {.kind = Signal::Kind::alive, .from = from, .origin = origin, .number = number};
}

}  // namespace

TEST_CASE("a sign of life counts once, from the rank that is waited for, and not if it is one's own") {
  const auto waits =
      waits_of({[](std::uint64_t number) { return sign(1, 3, number); }, [](std::uint64_t) { return sign(1, 3, 5); },  // an old one
                [](std::uint64_t number) { return sign(1, 0, number); },                                               // one's own
                [](std::uint64_t number) { return sign(2, 3, number); }});
  CHECK(waits[0].stall == "");
  CHECK_THAT(waits[1].stall, Catch::Matchers::Contains("rank 1 answers, but nothing moves"));
  CHECK_THAT(waits[2].stall, Catch::Matchers::Contains("rank 1 answers, but nothing moves"));
  CHECK_THAT(waits[3].stall, Catch::Matchers::Contains("rank 1 does not answer"));
}

TEST_CASE("a sign is passed on at once to those who asked, and whoever is told of a last word is silent") {
  const Signal ask{.kind = Signal::Kind::ask, .from = 2}, last_word{.kind = Signal::Kind::last_word, .from = 3, .urgency = 0};
  const auto waits = waits_of(
      {[&](std::uint64_t number) { return number == 10 ? ask : sign(1, 3, number); }, [&](std::uint64_t) { return last_word; }});
  const auto answers = std::count_if(waits[0].told.begin(), waits[0].told.end(),
                                     [](const Signal& told) { return told.kind == Signal::Kind::alive && told.origin == 3; });
  CHECK(answers > 20);
  CHECK(waits[0].stall == "");
  CHECK(waits[1].stall == "");
}

TEST_CASE("a wait that is short tells nobody anything") {
  ScriptedTransport transport;
  transport.heartbeat().set_deadline(100);
  const auto start = Clock::now();
  for (int wait = 0; wait < 5; ++wait) {
    Waiting waiting(transport.heartbeat(), 1);
    while (seconds_since(start) < 0.05 * (wait + 1)) waiting.fruitless();
  }
  CHECK(transport.told.empty());
}

TEST_CASE("without a deadline nobody is taken for dead", "[slow]") {
  const Ending ending = ending_of(
      2,
      [&](Transport& transport) {
        if (transport.rank() == 1) be_silent(2 * kDeadline);
        transport.barrier();
      },
      0);
  REQUIRE(ending.error == "");
}

TEST_CASE("a job that is ended from outside says once where it was") {
  std::atomic<bool> ended = false;
  const auto start = Clock::now();
  const Ending ending = ending_of(
      3,
      [&](Transport& transport) {
        transport.heartbeat().end_with(ended);
        if (transport.rank() == 0 && seconds_since(start) < 10) {
          compute(transport, 0.2);
          ended = true;
          compute(transport, 5);
        }
        transport.barrier();
      },
      0);
  CAPTURE(ending.error);
  REQUIRE(
      std::regex_match(ending.error, std::regex(R"(the job is ended from outside \(SIGTERM\), but no rank of this node is gone; )"
                                                R"((rank 0 computes|rank [12] waits for rank [0-2]), stage ring 7.*)")));
  REQUIRE(ending.seconds < 4);
}

TEST_CASE("a deadline is a duration") {
  run_loopback(1, [](Transport& transport) {
    REQUIRE_THROWS_AS(transport.heartbeat().set_deadline(-1), std::invalid_argument);
    REQUIRE_THROWS_AS(transport.heartbeat().set_deadline(1.0 / 0.0), std::invalid_argument);
    REQUIRE_THROWS_AS(transport.heartbeat().set_deadline(0.0 / 0.0), std::invalid_argument);
    transport.heartbeat().set_deadline(0.5);
    REQUIRE(transport.heartbeat().deadline_seconds() == 0.5);
  });
}
