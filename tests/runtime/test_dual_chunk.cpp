// Dual chunk attention over several ranks, against attention whose matrix of relative positions is written down from the
// definition.
#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/schedules/schedules.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"
#include "support/relative_positions.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

constexpr int kRanks[] = {1, 2, 3, 4, 5, 8};

Job job_of(const DualChunk& dual_chunk, std::int64_t tokens, const char* mask = "full") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = tokens;
  job.problem.query_heads = 4, job.problem.key_heads = 2;
  job.problem.head_dim = 10, job.problem.value_dim = 5;
  job.problem.rotary = Rotary{.base = 100};
  job.problem.dual_chunk = dual_chunk;
  job.problem.mask = Mask::parse(mask);
  job.options.unit_tokens = 7;
  return job;
}

/// As the paper's figure has it, chunk by chunk.
RelativePosition definition(std::int64_t chunk, std::int64_t local) {
  return [length = chunk - local, chunk](std::int64_t i, std::int64_t j) {
    const std::int64_t apart = i / length - j / length, a = i % length, b = j % length;
    if (apart == 0) return a - b;
    return (apart == 1 ? std::min(a + length, chunk) : std::min(2 * length - 1, chunk)) - b;
  };
}

/// What the library is told to compute, told to the naive attention in words that it shares with none of dual chunk attention.
NaiveResult expected_of(const Problem& problem, const Tensors& tensors, const std::vector<float>& grad_out = {}) {
  Problem plain = problem;
  const DualChunk of = *problem.dual_chunk;
  plain.dual_chunk.reset();
  plain.mask = plain.mask & Mask::causal();
  if (of.original_tokens && problem.key_tokens > *of.original_tokens) {
    const double ratio = static_cast<double>(problem.key_tokens) / static_cast<double>(*of.original_tokens);
    plain.scale = plain.score_scale() * std::pow(0.1 * std::log(ratio) + 1, 2);
  }
  return naive_attention(plain, tensors, definition(of.chunk, of.local), grad_out);
}

void check_forward(const Job& job, const Tensors& tensors, const NaiveResult& expected, int ranks) {
  const Result result = run_loopback_job(job, tensors, ranks, 2);
  CHECK(relative_error(result.out, expected.out) < 5e-6);
  CHECK(relative_error(result.lse, expected.lse) < 5e-6);
}

Gradients gradients_of(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, int ranks) {
  Gradients gradients(job.problem);
  run_loopback(
      ranks, [&](Transport& transport) { run_rank(transport, job, tensors, grad_out, gradients); }, 2);
  return gradients;
}

DualChunk random_chunk(Random& random) {
  DualChunk dual_chunk{.chunk = draw(random, 1, 60)};
  dual_chunk.local = draw(random, 0, dual_chunk.chunk - 1);
  if (draw(random, 0, 2) == 0) dual_chunk.original_tokens = draw(random, 10, 200);
  return dual_chunk;
}

}  // namespace

TEST_CASE("no two tokens are farther apart than a chunk, and those within the local window are as far apart as they are") {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    DualChunk dual_chunk{.chunk = draw(random, 2, 40)};
    dual_chunk.local = draw(random, 0, dual_chunk.chunk / 2);
    const std::int64_t i = draw(random, 0, 300), j = draw(random, std::max<std::int64_t>(0, i - 100), i);
    const int form = form_of(i, j, dual_chunk.length());
    const std::int64_t apart = dual_chunk.queries(i)[form].position(0) - dual_chunk.keys(j).position(0);
    INFO(to_string(dual_chunk) << ": query " << i << ", key " << j);
    CHECK(apart == definition(dual_chunk.chunk, dual_chunk.local)(i, j));
    CHECK(apart >= 0);
    CHECK(apart <= dual_chunk.chunk);
    if (i - j <= dual_chunk.local) CHECK(apart == i - j);
  }
}

TEST_CASE("a stretch of queries stands where each of them would by itself") {
  const DualChunk dual_chunk{.chunk = 20, .local = 6};
  for (const std::int64_t first : {0, 3, 14, 31, -5}) {
    const auto stretches = dual_chunk.queries(first);
    const std::int64_t tokens = 14 - dual_chunk.keys(first).position(0);  // of its chunk
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (int form = 0; form < kMostForms; ++form)
        CHECK(stretches[form].position(token) == dual_chunk.queries(first + token)[form].position(0));
    }
  }
}

TEST_CASE("dual chunk attention of any chunks and lengths is what the matrix of relative positions gives, on any number of ranks") {
  constexpr const char* kMasks[] = {"full", "causal", "window(30)", "two documents", "strided(3) | window(4,9)"};
  constexpr const char* kPartitions[] = {"contiguous", "zigzag", "striped(5)", "balanced", "auto"};
  Random random(2);
  for (int round = 0; round < 60; ++round) {
    Job job = job_of(random_chunk(random), draw(random, 1, 160));
    Problem& p = job.problem;
    const std::int64_t tokens = p.key_tokens;
    std::vector<std::int64_t> documents{draw(random, 1, tokens)};
    if (documents[0] < tokens) documents.push_back(tokens - documents[0]);
    p.mask = round % 5 == 3 ? Mask::documents(documents) : Mask::parse(kMasks[round % 5]);
    p.rotary = random_rotary(random, p.head_dim);
    if (round % 3 == 0) p.softcap = 5;
    job.options.unit_tokens = draw(random, 1, 40);
    job.options.threads = static_cast<int>(draw(random, 1, 2));
    const Tensors tensors = random_tensors(p, random(), 1);
    const NaiveResult expected = expected_of(p, tensors);
    const int ranks = kRanks[round % 6];
    job.options.partition = PartitionChoice::parse(kPartitions[draw(random, 0, 4)]);
    for (const StrategyChoice strategy : {Strategy::ring, Strategy::bidirectional_ring, Strategy::all_gather, Strategy::ulysses,
                                          Strategy::pass_query, Strategy::tree}) {
      job.options.strategy = strategy;
      INFO(to_string(*p.dual_chunk) << ", " << tokens << " tokens, units of " << job.options.unit_tokens << ", " << p.mask.text()
                                    << ", " << to_string(*p.rotary) << ", " << to_string(strategy) << ", "
                                    << job.options.partition.text() << ", " << ranks << " ranks");
      check_forward(job, tensors, expected, ranks);
    }
  }
}

TEST_CASE("gradients of dual chunk attention are those of the matrix of relative positions, whatever travels") {
  Random random(3);
  for (int round = 0; round < 24; ++round) {
    Job job = job_of(random_chunk(random), draw(random, 1, 120), round % 2 == 0 ? "causal" : "window(25)");
    Problem& p = job.problem;
    p.rotary = random_rotary(random, p.head_dim);
    if (round % 3 == 0) p.softcap = 5;
    job.options.unit_tokens = draw(random, 1, 40);
    const Tensors tensors = random_tensors(p, random(), 1);
    const std::vector<float> grad_out = random_grad_out(p, random(), 1.5);
    const NaiveResult expected = expected_of(p, tensors, grad_out);
    const int ranks = kRanks[round % 6];
    for (const StrategyChoice strategy : {Strategy::ring, Strategy::bidirectional_ring, Strategy::all_gather, Strategy::ulysses}) {
      for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
        if (!can_go_backward(strategy.kind, way)) continue;
        job.options.strategy = strategy, job.options.backward = way;
        INFO(to_string(*p.dual_chunk) << ", " << p.key_tokens << " tokens, " << to_string(*p.rotary) << ", " << to_string(strategy)
                                      << ", " << to_string(way) << " travel, " << ranks << " ranks");
        const Gradients found = gradients_of(job, tensors, grad_out, ranks);
        CHECK(relative_error(found.queries, expected.queries) < 5e-6);
        CHECK(relative_error(found.keys, expected.keys) < 5e-6);
        CHECK(relative_error(found.values, expected.values) < 5e-6);
      }
    }
  }
}

TEST_CASE("one query, or a few, at the end of many keys see them chunk by chunk, on any number of threads and ranks") {
  for (const std::int64_t queries : {1, 3, 20}) {
    Job job = job_of({.chunk = 40, .local = 8, .original_tokens = 64}, 500);
    job.problem.query_tokens = queries;
    job.options.unit_tokens = 0;
    const Tensors tensors = random_tensors(job.problem, 5, 1.5);
    const NaiveResult expected = expected_of(job.problem, tensors);
    for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
      for (const int threads : {1, 3}) {
        for (const int ranks : {1, 2, 5}) {
          job.problem.type = type, job.options.threads = threads;
          INFO(queries << " queries, " << to_string(type) << ", " << threads << " threads, " << ranks << " ranks");
          const Result result = run_loopback_job(job, tensors, ranks, 2);
          if (type == Type::f32) CHECK(relative_error(result.out, expected.out) < 5e-6);
          CHECK(compare(job.problem, tensors, result).share_of_bound <= 1);
        }
      }
    }
  }
}

TEST_CASE("while the keys fit into one chunk, dual chunk attention has the bits of plain rotary positions, gradients too") {
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    Job job = job_of({.chunk = 128, .local = 27}, 101, "causal");
    job.problem.type = type;
    const Tensors tensors = random_tensors(job.problem, 6, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 7, 1.5);
    for (const int ranks : {1, 3}) {
      job.options.backward = Backward::keys_travel;
      Job plain = job;
      plain.problem.dual_chunk.reset();
      CHECK(run_loopback_job(job, tensors, ranks) == run_loopback_job(plain, tensors, ranks));
      CHECK(gradients_of(job, tensors, grad_out, ranks) == gradients_of(plain, tensors, grad_out, ranks));
      job.problem.dual_chunk->chunk = 127;  // L = 100
      CHECK_FALSE(run_loopback_job(job, tensors, ranks) == run_loopback_job(plain, tensors, ranks));
      job.problem.dual_chunk->chunk = 128;
    }
  }
}

TEST_CASE("units of queries and of keys end where chunks do, whatever the query offset") {
  Job job = job_of({.chunk = 30, .local = 7}, 200);
  for (const std::int64_t offset : {0, -40, 11, 23}) {
    job.problem.query_offset = offset, job.problem.query_tokens = 90;
    const Layout layout(job.problem, job.options, 3);
    const auto chunk_of = [](std::int64_t position) { return floor_divide(position, 23); };
    for (int unit = 0; unit < layout.key_units.count(); ++unit)
      CHECK(chunk_of(layout.key_units.range(unit).begin) == chunk_of(layout.key_units.range(unit).end - 1));
    for (int unit = 0; unit < layout.query_units.count(); ++unit)
      CHECK(chunk_of(layout.query_positions(unit).begin) == chunk_of(layout.query_positions(unit).end - 1));
    const Tensors tensors = random_tensors(job.problem, 8, 1);
    CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 3)).share_of_bound <= 1);
  }
}

TEST_CASE("dual chunk attention that cannot be is refused, and ranks that disagree about it hear so") {
  const auto refusal = [](auto&& change) {
    Job job = job_of({.chunk = 30, .local = 7}, 20);
    change(job.problem);
    try {
      job.problem.validate();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal([](Problem&) {}).empty());
  CHECK(refusal([](Problem& p) { p.rotary.reset(); }).find("give their base") != std::string::npos);
  CHECK(refusal([](Problem& p) { p.dual_chunk->chunk = 0; }).find("is 0 tokens") != std::string::npos);
  CHECK(refusal([](Problem& p) { p.dual_chunk->local = 30; }).find("give 0 to 29") != std::string::npos);
  CHECK(refusal([](Problem& p) { p.dual_chunk->original_tokens = 0; }).find("original length") != std::string::npos);
  std::vector<std::string> heard(2);
  run_loopback(2, [&](Transport& transport) {
    Job job = job_of({.chunk = 30, .local = 7}, 20);
    if (transport.rank() == 1) job.problem.dual_chunk->local = 6;
    try {
      Attention(transport, job.problem, job.options);
    } catch (const std::invalid_argument& error) {
      heard[transport.rank()] = error.what();
    }
  });
  CHECK(heard[0] == heard[1]);
  CHECK(heard[0].find("30 less 6 tokens") != std::string::npos);
}
