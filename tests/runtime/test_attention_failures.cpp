// Ranks that fail and bits that flip while transfers are in flight.
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>

#include "comm/error.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

/// Passes everything on until a given number of tests has been made; then fails as a broken rank would.
class BreakingTransport : public Transport {
 public:
  BreakingTransport(Transport& inner, int tests) : inner_(inner), tests_left_(tests) {}
  int rank() const override { return inner_.rank(); }
  int ranks() const override { return inner_.ranks(); }
  void reserve(std::size_t transfers) override { inner_.reserve(transfers); }
  Ticket send(int peer, int lane, std::span<const std::byte> bytes) override { return inner_.send(peer, lane, bytes); }
  Ticket receive(int peer, int lane, std::span<std::byte> bytes) override { return inner_.receive(peer, lane, bytes); }
  bool test(Ticket ticket) override {
    if (tests_left_-- <= 0) throw std::runtime_error("the cable is out");
    return inner_.test(ticket);
  }
  void progress() override { inner_.progress(); }
  Ticket expose(int peer, std::size_t bytes) override { return inner_.expose(peer, bytes); }
  Ticket borrow(int peer, std::size_t bytes) override { return inner_.borrow(peer, bytes); }
  void release(int peer) override { inner_.release(peer); }
  std::span<const int> nodes() const override { return inner_.nodes(); }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override { return inner_.share(bytes); }
  void tell(int peer, const Signal& signal) override { inner_.tell(peer, signal); }
  bool hear(Signal& signal) override { return inner_.hear(signal); }
  bool gone(int rank) override { return inner_.gone(rank); }
  Heartbeat& heartbeat() override { return inner_.heartbeat(); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override { inner_.all_gather(mine, all); }
  void broadcast(std::span<std::byte> bytes, int root) override { inner_.broadcast(bytes, root); }
  void barrier() override { inner_.barrier(); }
  [[noreturn]] void abort(int status, std::string_view message) override {
    aborted = true;
    inner_.abort(status, message);
    std::abort();
  }
  Traffic traffic() const override { return inner_.traffic(); }

  bool aborted = false;

 private:
  Transport& inner_;
  int tests_left_;
};

}  // namespace

TEST_CASE("a rank that fails with transfers in flight ends the call on every rank, whenever it happens") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 256;
  job.problem.mask = Mask::full();
  job.options.partition = PartitionChoice::parse("contiguous");
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  for (int tests = 0; tests < 12; ++tests) {
    Result result(job.problem);
    std::string heard;
    int lost = 0;
    bool ended = false;
    std::mutex mutex;
    try {
      run_loopback(4, [&](Transport& transport) {
        BreakingTransport breaking(transport, transport.rank() == 2 ? tests : 1 << 30);
        try {
          run_rank(breaking, job, tensors, result, 3);
        } catch (const std::runtime_error& error) {
          const std::lock_guard lock(mutex);
          lost += dynamic_cast<const LostPeer*>(&error) != nullptr;
          if (transport.rank() == 2) ended = breaking.aborted;
          throw;
        }
      });
    } catch (const std::runtime_error& error) {
      heard = error.what();
    }
    CHECK(heard == "the cable is out");
    CHECK(lost == 3);
    CHECK(ended);  // by the failing rank itself, before it unwinds: over MPI nobody else would hear
  }
}

namespace {

struct Flip {
  int rank = 0;
  Faults faults;
};

/// Runs with one rank's transport flipping a bit; what the job ended with, empty if with a result.
std::string end_of(const Job& job, const Tensors& tensors, int ranks, const Flip& flip, Result& result) {
  try {
    run_loopback(ranks, [&](Transport& transport) {
      if (transport.rank() != flip.rank) return run_rank(transport, job, tensors, result);
      const auto flipping = faulty_transport(transport, flip.faults);
      run_rank(*flipping, job, tensors, result);
    });
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a bit that flips on the way ends the job with the cell, its sender and the stage, whichever bit it is") {
  constexpr int kRanks = 4, kHeads = 3;
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 64;
  job.problem.query_heads = job.problem.key_heads = kHeads;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.problem.mask = Mask::full();
  job.options.partition = PartitionChoice::parse("contiguous");
  job.options.strategy = Strategy::ring;
  job.options.unit_tokens = 64 / kRanks;  // a unit a rank: a message is the heads of one
  job.options.sharing = Sharing::off;
  job.options.integrity = Integrity::checked;
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  const Layout layout(job.problem, job.options, kRanks);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const int rank = static_cast<int>(seed % kRanks), sender = (rank - 1 + kRanks) % kRanks;
    const std::int64_t receive = static_cast<std::int64_t>(seed) / kRanks % (kRanks - 1);
    std::int64_t bit = -1;
    const Flip flip{rank, {.seed = seed, .flip_after = receive, .flipped = [&](int, std::int64_t at) { bit = at; }}};
    Result result(job.problem);
    const std::string message = end_of(job, tensors, kRanks, flip, result);
    INFO("seed " << seed << ", bit " << bit << ": " << message);
    bool named = false;  // two stages may be under way at once: which completes first is up to the seed
    for (int stage = 1; stage < kRanks; ++stage) {
      const int unit = (rank - stage + kRanks) % kRanks;
      const std::int64_t head = bit / 8 / layout.cell_bytes(Role::key_value, unit);
      named = named || message.starts_with("rank " + std::to_string(rank) + ": the cell of unit " + std::to_string(unit) +
                                           ", head " + std::to_string(head) + " that came from rank " + std::to_string(sender) +
                                           " in stage " + std::to_string(stage) + " does not match its checksum");
    }
    CHECK(named);
  }
}

TEST_CASE("random jobs find every flipped bit, and checksums change no bit of a result") {
  Random random(31);
  int flips = 0;
  for (int round = 0; round < 60; ++round) {
    Job job = random_job(random);
    const int ranks = static_cast<int>(draw(random, 2, 5));
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    job.options.sharing = Sharing::off;
    job.options.integrity = Integrity::unchecked;
    const Result expected = run_loopback_job(job, tensors, ranks);
    job.options.integrity = Integrity::checked;
    CHECK(run_loopback_job(job, tensors, ranks) == expected);
    int flipped_from = -1;
    const Flip flip{
        static_cast<int>(draw(random, 0, ranks - 1)),
        {.seed = random(), .flip_after = draw(random, 0, 5), .flipped = [&](int peer, std::int64_t) { flipped_from = peer; }}};
    Result result(job.problem);
    const std::string message = end_of(job, tensors, ranks, flip, result);
    INFO(job.text << ", " << ranks << " ranks: " << message);
    if (flipped_from < 0) {
      CHECK(message.empty());
      CHECK(result == expected);
    } else {
      ++flips;
      CHECK(message.starts_with("rank " + std::to_string(flip.rank) + ": the cell of unit "));
      CHECK(message.find("came from rank " + std::to_string(flipped_from) + " in stage ") != std::string::npos);
    }
  }
  CHECK(flips >= 20);
}
