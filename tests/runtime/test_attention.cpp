// Attention end to end over loopback, against the float64 reference.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "comm/error.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/loopback_transport.hpp"
#include "kernels/convert.hpp"
#include "support/catch.hpp"
#include "support/count_allocations.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

void run_random_jobs(std::uint64_t seed, int rounds) {
  Random random(seed);
  for (int round = 0; round < rounds; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_job(random, ranks);
    INFO("round " << round << ": " << job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const Errors errors =
        compare(job.problem, tensors, run_loopback_job(job, tensors, ranks, static_cast<int>(draw(random, 0, 4))), 3);
    CHECK(errors.out < largest_normal_error(job.problem.type));
    CHECK(errors.lse < 1e-5);
    CHECK(errors.share_of_bound <= 1);
  }
}

}  // namespace

TEST_CASE("random jobs on 1 to 8 ranks agree with the float64 reference") {
  run_random_jobs(2024, 250);
}

TEST_CASE("5,000 random jobs on 1 to 8 ranks agree with the float64 reference", "[.long]") {
  run_random_jobs(2025, 5000);
}

TEST_CASE("large scores stay within the bound that grows with them") {
  Random random(7);
  for (int round = 0; round < 40; ++round) {
    const Job job = random_job(random, 3);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 12);
    CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 3), 3).share_of_bound <= 1);
  }
}

TEST_CASE("cells of 16 bits cost what rounding the inputs costs, and bf16 no more than rounding the weights beyond that") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 700;
  job.problem.query_heads = job.problem.key_heads = 2;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 11, 1.5);
  for (const Type type : {Type::bf16, Type::f16}) {
    job.problem.type = Type::f32;
    const Result of_rounded = run_loopback_job(job, rounded(tensors, type), 3);
    job.problem.type = type;
    const Result result = run_loopback_job(job, tensors, 3);
    if (type == Type::f16) CHECK(result == of_rounded);
    CHECK(compare(job.problem, tensors, result).out < largest_normal_error(type));
    Problem unrounded = job.problem;
    unrounded.type = Type::f32;
    const Errors errors = compare(unrounded, tensors, result);
    CHECK(errors.out < (type == Type::bf16 ? 1.5e-2 : 2e-3));
    CHECK(errors.out > 1e-5);
  }
}

TEST_CASE("operands of any type give what fp32 copies of them give, and a narrow output is rounded once") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 130;
  job.problem.query_heads = 4, job.problem.key_heads = 2;
  job.problem.head_dim = 20, job.problem.value_dim = 9;
  job.problem.mask = Mask::causal();
  for (const Type cells : {Type::f32, Type::bf16}) {
    job.problem.type = cells;
    const Tensors tensors = rounded(random_tensors(job.problem, 12, 1.5), Type::bf16);
    const Result expected = run_loopback_job(job, tensors, 3);
    std::vector<int> wrong(3, 1);  // [rank]
    run_loopback(3, [&](Transport& transport) {
      const RankRows rows(job, tensors, transport);
      Operands operands = rows.operands();
      std::vector<std::vector<bf16>> narrow;
      const auto narrowed = [&](const TypedRows& wide) {
        auto& copy = narrow.emplace_back(wide.tokens * wide.heads * wide.dim);
        convert(wide.data, Type::f32, copy.data(), Type::bf16, std::ssize(copy));
        return TypedRows(copy.data(), wide.tokens, wide.heads, wide.dim);
      };
      operands.queries = narrowed(operands.queries);
      operands.keys = narrowed(operands.keys);
      operands.values = narrowed(operands.values);
      const TypedOutRows wide_out = operands.out;
      std::vector<f16> out(wide_out.tokens * 4 * 9);
      Attention attention(transport, job.problem, job.options);
      attention.forward(operands);
      operands.out = {out.data(), wide_out.tokens, 4, 9};
      attention.forward(operands);
      Result mine = expected;  // with this rank's rows written again
      rows.write_to(mine);
      wrong[transport.rank()] = mine == expected ? 0 : 1;
      for (std::size_t i = 0; i < out.size(); ++i) {
        wrong[transport.rank()] += out[i].bits != to_f16(static_cast<const float*>(wide_out.data)[i]).bits;
      }
    });
    CHECK(wrong == std::vector<int>(3, 0));
  }
}

TEST_CASE("delays, reordering, threads, prefetch, and which ranks share memory never change a bit") {
  Random random(99);
  for (int round = 0; round < 60; ++round) {
    const int ranks = static_cast<int>(draw(random, 2, 8));
    Job job = random_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const Result expected = run_loopback_job(job, tensors, ranks);
    const int ranks_per_node = static_cast<int>(draw(random, 1, ranks));
    job.options.sharing = draw(random, 0, 3) == 0 ? Sharing::off : Sharing::automatic;
    job.options.threads = 3 - job.options.threads;
    job.options.prefetch = static_cast<int>(draw(random, 1, 4));
    Result delayed(job.problem);
    const std::uint64_t seed = random();
    const auto run_slowly = [&](Transport& transport) {
      const auto slow = faulty_transport(transport, {.seed = seed + transport.rank(), .longest_delay = 30});
      run_rank(*slow, job, tensors, delayed, 2);
    };
    run_loopback(ranks, run_slowly, ranks_per_node);
    CHECK(delayed == expected);
  }
}

TEST_CASE("with communication switched off the same work is done, and a call after it is right again") {
  Random random(12);
  for (int round = 0; round < 20; ++round) {
    const Job job = random_job(random);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    Result result(job.problem);
    std::atomic<bool> waited = false, sent = false;
    const auto body = [&](Transport& transport) {
      const RankRows rows(job, tensors, transport);
      Attention attention(transport, job.problem, job.options);
      attention.forward(rows.operands());
      const Traffic before = transport.traffic();
      const CallTime silent = attention.forward(rows.operands(), {.wire = Wire::silent});
      const Traffic after = transport.traffic();
      if (after.bytes_sent != before.bytes_sent || after.bytes_borrowed != before.bytes_borrowed) sent = true;
      if (silent.communicating_seconds > 0) waited = true;
      attention.forward(rows.operands());
      rows.write_to(result);
    };
    run_loopback(4, body, 2);
    CHECK_FALSE(sent);
    CHECK_FALSE(waited);
    CHECK(result == run_loopback_job(job, tensors, 4));
  }
}

TEST_CASE("a timeline has every computation and transfer of a call once, and progress ends at one") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 600;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  std::mutex mutex;
  std::vector<std::string> wrong;
  const auto body = [&](Transport& transport) {
    const RankRows rows(job, tensors, transport);
    Attention attention(transport, job.problem, job.options);
    Timeline timeline;
    double share = 0;
    const std::function<void(const Progress&)> progress = [&](const Progress& now) { share = now.share_done; };
    attention.forward(rows.operands(), {.timeline = &timeline, .progress = &progress});
    std::vector<int> seen(attention.program().instructions.size(), 0);
    bool ordered = true;
    for (const TimelineEvent& event : timeline.events()) {
      if (event.kind != TimelineEvent::Kind::wait) ++seen[event.instruction];
      ordered = ordered && event.begin_seconds <= event.end_seconds;
    }
    const std::lock_guard lock(mutex);
    if (!ordered) wrong.push_back("an event ends before it begins");
    if (share < 0 || share > 1) wrong.push_back("a share of " + std::to_string(share));
    for (std::size_t index = 0; index < seen.size(); ++index) {
      const int expected = attention.program().instructions[index].op == Op::release ? 0 : 1;
      if (seen[index] != expected)
        wrong.push_back(describe(attention.program(), index) + " " + std::to_string(seen[index]) + " times");
    }
  };
  run_loopback(3, body, 2);
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("where queries are placed changes no bit as long as key units are attended in the same order") {
  // All keys on one rank: whoever owns a query attends them in one go, ascending.
  Job job;
  job.problem.query_tokens = 300;
  job.problem.key_tokens = 40;
  job.problem.query_heads = 4;
  job.problem.key_heads = 2;
  job.problem.head_dim = job.problem.value_dim = 16;
  job.problem.mask = Mask::parse("causal | prefix(9)");
  job.problem.query_offset = -5;
  job.options.unit_tokens = 40;
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  const Result expected = run_loopback_job(job, tensors, 1);
  for (const char* partition : {"zigzag", "striped", "balanced", "contiguous"}) {
    job.options.partition = PartitionChoice::parse(partition);
    for (const int ranks : {2, 3, 8}) CHECK(run_loopback_job(job, tensors, ranks) == expected);
  }
}

TEST_CASE("the error does not grow with the number of units, nor where every rounding errs to the same side") {
  Job job;
  job.problem.query_tokens = 8;
  job.problem.query_heads = job.problem.key_heads = 1;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.options.partition = PartitionChoice::parse("contiguous");
  for (const std::int64_t key_tokens : {2048, 65536}) {
    job.problem.key_tokens = key_tokens;
    for (const std::int64_t unit : {1, 8, 64, 512}) {
      if (unit == 1 && key_tokens > 2048) continue;  // every unit takes a strip of 16
      job.options.unit_tokens = unit;
      INFO(key_tokens << " keys, units of " << unit);
      Tensors tensors = random_tensors(job.problem, 5, 1.5);
      CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      std::fill(tensors.queries.begin(), tensors.queries.end(), 0.0F);  // equal weights
      CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      for (const float value : {0.1F, 0.3F, 0.7F, 1.0F / 3}) {  // equal addends: errors of a chain all point one way
        std::fill(tensors.values.begin(), tensors.values.end(), value);
        CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      }
    }
  }
}

TEST_CASE("sampled rows of 65,536 keys keep the error of short sequences") {
  Job job;
  job.problem.query_tokens = 48;
  job.problem.key_tokens = 65536;
  job.problem.query_heads = job.problem.key_heads = 1;
  job.problem.mask = Mask::full();
  job.options.partition = PartitionChoice::parse("contiguous");
  const Tensors tensors = random_tensors(job.problem, 3, 1.5);
  const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, 2), 5);
  CHECK(errors.out < 2e-6);
  CHECK(errors.lse < 1e-5);
  CHECK(errors.share_of_bound <= 1);
}

TEST_CASE("65,536 queries and keys keep the error of short sequences under every mask, placement and rank count", "[.long]") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 65536;
  job.problem.query_heads = 2;
  job.problem.key_heads = 1;
  const Tensors tensors = random_tensors(job.problem, 8, 1.5);
  Random random(9);
  for (const char* mask : {"full", "causal", "window(5000,100) | sinks(4)", "strided(7) & causal", "documents(30000,1,35535)"}) {
    job.problem.mask = Mask::parse(mask);
    for (const char* partition : {"contiguous", "zigzag", "striped", "balanced"}) {
      job.options.partition = PartitionChoice::parse(partition);
      const int ranks = static_cast<int>(draw(random, 1, 8));
      INFO(mask << ", " << partition << ", " << ranks << " ranks");
      const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, ranks), 2999);
      CHECK(errors.out < 2e-6);
      CHECK(errors.lse < 1e-5);
      CHECK(errors.share_of_bound <= 1);
    }
  }
}

TEST_CASE("rows that see no key are zero with a log-sum-exp of minus infinity on any number of ranks") {
  Job job;
  job.problem.query_tokens = 40;
  job.problem.key_tokens = 30;
  job.problem.query_offset = -20;
  job.problem.query_heads = job.problem.key_heads = 2;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 4, 1.5);
  for (const int ranks : {1, 3, 8}) {
    const Result result = run_loopback_job(job, tensors, ranks);
    for (int row = 0; row < 20 * 2; ++row) {
      CHECK(result.lse[row] == -std::numeric_limits<float>::infinity());
      for (int channel = 0; channel < 8; ++channel) CHECK(result.out[row * 8 + channel] == 0);
    }
    CHECK(compare(job.problem, tensors, result).out < 2e-6);
  }
}

TEST_CASE("ranks that were given different problems all hear which input differs") {
  for (const int ranks : {2, 5}) {
    std::vector<std::string> heard(ranks);
    run_loopback(ranks, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      problem.head_dim = transport.rank() == ranks - 1 ? 32 : 64;
      try {
        Attention(transport, problem, {});
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    for (const std::string& message : heard) {
      CHECK(message == heard[0]);
      CHECK(message.find("head dim") != std::string::npos);
      CHECK(message.find("32") != std::string::npos);
    }
  }
}

TEST_CASE("ranks that read different files of one name disagree about the mask's files") {
  for (const bool tables : {true, false}) {
    std::vector<std::string> heard(3);
    run_loopback(3, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      const bool odd = transport.rank() == 1;
      std::vector<std::uint8_t> cells(16, 1);
      cells[6] = odd;
      problem.mask = tables ? Mask::blocks(BlockTable({.block_tokens = 25, .rows = 4, .columns = 4}, cells), "b.npy")
                            : Mask::documents(std::vector<std::int64_t>{50 - odd, 50 + odd}, "lengths.npy");
      try {
        Attention(transport, problem, {});
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    for (const std::string& message : heard) {
      CHECK(message == heard[0]);
      CHECK(message.find("mask's files") != std::string::npos);
    }
  }
}

TEST_CASE("ranks that read different documents of one name disagree, even where those lie inside others and are no bands") {
  std::vector<std::string> heard(2);
  run_loopback(2, [&](Transport& transport) {
    Problem problem;
    problem.query_tokens = problem.key_tokens = 600;
    const std::int64_t odd = transport.rank();
    problem.mask =
        Mask::parse("documents(300,300)") | Mask::documents(std::vector<std::int64_t>{250 - odd, 50 + odd, 300}, "l.npy");
    try {
      Attention(transport, problem, {});
    } catch (const std::invalid_argument& error) {
      heard[transport.rank()] = error.what();
    }
  });
  for (const std::string& message : heard) CHECK(message.find("mask's files") != std::string::npos);
}

TEST_CASE("ranks with different layouts disagree, and a layout that is no partition is refused on every rank") {
  const auto heard_of = [](auto&& chunks_of) {
    std::vector<std::string> heard(3);
    run_loopback(3, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      Options options;
      options.partition = PartitionChoice::layout(chunks_of(transport.rank()));
      try {
        Attention(transport, problem, options);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard == std::vector<std::string>(3, heard[0]));
    return heard[0];
  };
  using Chunks = std::vector<Chunk>;
  const std::string differ = heard_of([](int rank) { return Chunks{{{0, 40}, rank == 2}, {{40, 100}, 2}}; });
  CHECK(differ.find("partition's chunks") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{41, 100}, 2}}; }).find("token 40 lies in no chunk") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{40, 100}, 3}}; }).find("3 ranks") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{40, 100}, 2}}; }).empty());
}

TEST_CASE("a caller's own layout keeps its rows where they are: ascending, cut nowhere but at its borders") {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 1000;
  Options options;
  options.partition = PartitionChoice::layout({{{700, 1000}, 0}, {{0, 13}, 0}, {{13, 14}, 2}, {{14, 700}, 0}, {{0, 0}, 1}},
                                              {{{0, 999}, 2}, {{999, 1000}, 1}});
  const Layout layout(problem, options, 4);
  using Ranges = std::vector<Range>;
  CHECK(rows_of(layout.query_units, layout.queries, 0) == Ranges{{0, 13}, {14, 1000}});
  CHECK(rows_of(layout.query_units, layout.queries, 1).empty());
  CHECK(rows_of(layout.query_units, layout.queries, 2) == Ranges{{13, 14}});
  CHECK(rows_of(layout.key_units, layout.keys, 1) == Ranges{{999, 1000}});
  CHECK(rows_of(layout.key_units, layout.keys, 2) == Ranges{{0, 999}});
  options.partition.key_chunks.clear();
  CHECK(Layout(problem, options, 4).keys == Layout(problem, options, 4).queries);
}

TEST_CASE("operands that do not fit on one rank are refused on every rank before anything is sent") {
  std::vector<std::uint64_t> sent(3, 1);  // [rank]; assertions are for the one thread that Catch2 knows
  std::vector<std::string> heard(3);
  run_loopback(3, [&](Transport& transport) {
    Problem problem;
    problem.query_tokens = problem.key_tokens = 90;
    problem.head_dim = problem.value_dim = 4;
    Attention attention(transport, problem, {});
    std::vector<float> rows(90 * 4);
    std::int64_t tokens = 0;
    for (const Range& range : attention.query_rows()) tokens += range.size();
    Operands operands{.queries = {rows.data(), tokens, 1, 4},
                      .keys = {rows.data(), tokens + (transport.rank() == 1 ? 1 : 0), 1, 4},
                      .values = {rows.data(), tokens, 1, 4},
                      .out = {rows.data(), tokens, 1, 4}};
    try {
      attention.forward(operands);
    } catch (const std::invalid_argument& error) {
      heard[transport.rank()] = error.what();
    }
    sent[transport.rank()] = transport.traffic().bytes_sent;
  });
  CHECK(sent == std::vector<std::uint64_t>(3, 0));
  for (const std::string& message : heard) CHECK(message.find("keys is") != std::string::npos);
}

TEST_CASE("a call allocates nothing on the thread that makes it") {
  Random random(17);
  for (int round = 0; round < 12; ++round) {
    const Job job = random_job(random, 4);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, 1, 1.5);
    std::vector<std::uint64_t> allocated(4, 1);  // [rank]
    run_loopback(4, [&](Transport& transport) {
      const RankRows rows(job, tensors, transport);
      Attention attention(transport, job.problem, job.options);
      const Operands operands = rows.operands();
      const std::uint64_t before = allocations_of_this_thread();
      attention.forward(operands);
      attention.forward(operands);
      allocated[transport.rank()] = allocations_of_this_thread() - before;
    });
    CHECK(allocated == std::vector<std::uint64_t>(4, 0));
  }
}

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

TEST_CASE("problems that cannot be are refused by value, limit and remedy") {
  const auto refusal = [](auto&& change) {
    std::string message;
    run_loopback(2, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 16;
      Options options;
      change(problem, options);
      try {
        Attention(transport, problem, options);
      } catch (const std::invalid_argument& error) {
        if (transport.rank() == 0) message = error.what();
      }
    });
    return message;
  };
  CHECK(refusal([](Problem& p, Options&) { p.query_heads = 6, p.key_heads = 4; }).find("divisor") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.head_dim = 577; }).find("576") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.value_dim = 0; }).find("value dim") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.mask = Mask::parse("documents(5,5)"); }).find("10") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) {
          p.mask = Mask::blocks(BlockTable({.block_tokens = 5, .rows = 3, .columns = 4}), "b");
        }).find("must be [4, 4]") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.unit_tokens = kLongestUnit + 1; }).find("unit") != std::string::npos);
  for (const double softcap : {0.0, -1.0, 1e7, std::nan("")})
    CHECK(refusal([&](Problem& p, Options&) { p.softcap = softcap; }).find("softcap is") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.isa = "sse1"; }).find("portable") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.prefetch = 5; }).find("prefetch") != std::string::npos);
}
