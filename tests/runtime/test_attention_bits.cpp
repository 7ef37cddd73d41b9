// What never changes a bit of a result, and what a call does beside computing it: a timeline, progress, no allocation.
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "comm/faulty_transport.hpp"
#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"
#include "support/count_allocations.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

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

namespace {

/// Every strategy at 8 ranks, each job with one result whatever is held back for how long.
void run_delayed(std::uint64_t seeds) {
  constexpr int kRanks = 8;
  const StrategyChoice strategies[] = {
      Strategy::ring,    Strategy::bidirectional_ring, {Strategy::double_ring, 4}, Strategy::all_gather,
      Strategy::ulysses, {Strategy::hybrid, 2},        Strategy::pass_query,       Strategy::tree};
  Random random(5);
  for (const StrategyChoice strategy : strategies) {
    Job job;
    job.problem.query_tokens = job.problem.key_tokens = 150;
    job.problem.query_heads = 6, job.problem.key_heads = 3;
    job.problem.head_dim = job.problem.value_dim = 8;
    job.problem.mask = Mask::causal();
    job.options.unit_tokens = 7;
    job.options.piece_bytes = 1;
    job.options.strategy = strategy;
    const Tensors tensors = random_tensors(job.problem, 3, 1.5);
    const Result expected = run_loopback_job(job, tensors, kRanks);
    CHECK(compare(job.problem, tensors, expected).share_of_bound <= 1);
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      INFO(to_string(strategy) << ", seed " << seed);
      Result delayed(job.problem);
      const auto run_slowly = [&](Transport& transport) {
        const auto slow = faulty_transport(transport, {.seed = seed * kRanks + transport.rank(), .longest_delay = 20});
        run_rank(*slow, job, tensors, delayed, 2);
      };
      run_loopback(kRanks, run_slowly, static_cast<int>(draw(random, 1, kRanks)));
      REQUIRE(delayed == expected);
    }
  }
}

}  // namespace

TEST_CASE("at 8 ranks no strategy changes a bit under 50 seeds of delays and reorderings") {
  run_delayed(50);
}

TEST_CASE("at 8 ranks no strategy changes a bit under 1,000 seeds of delays and reorderings", "[.long]") {
  run_delayed(1000);
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
