// Native sparse attention, forward and backward, against its definition in float64.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "native_case.hpp"
#include "runtime/mechanism/native_pooling.hpp"
#include "sparse_case.hpp"
#include "support/catch.hpp"
#include "support/relative_positions.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

constexpr NativeSparse kSmall{.block = 8, .stride = 4, .select_block = 8, .select_blocks = 4, .window = 11};

/// Largest error of outputs and of gradients, relative to the largest output and gradient of a kind.
struct NativeErrors {
  double out = 0, gradients = 0;
};

NativeErrors compare(const NativeCase& job, const NativeInputs& inputs, const NativeFound& found) {
  const NaiveNativeSparse naive(job.problem, job.sparse, inputs);
  const NativeResult expected =
      naive.run([&](std::int64_t query, std::int64_t block, int head) { return found.selected(query, block, head, job.sparse); });
  NativeErrors errors{.out = relative_error(found.out, expected.out), .gradients = 0};
  if (job.options.backward == Backward::none) return errors;
  double most = 0, worst = 0;  // keys that nobody sees but through one softmax of one key have none: judged by the largest of all
  const auto judge = [&](const std::vector<float>& got, const std::vector<double>& wanted) {
    REQUIRE(got.size() == wanted.size());
    for (std::size_t at = 0; at < got.size(); ++at) {
      most = std::max(most, std::abs(wanted[at]));
      const double error = std::abs(got[at] - wanted[at]);
      worst = error <= worst ? worst : std::isnan(error) ? HUGE_VAL : error;
    }
  };
  judge(found.queries, expected.queries), judge(found.keys, expected.keys), judge(found.values, expected.values);
  judge(found.gates, expected.gates);
  if (job.sparse.compression == Compression::given)
    judge(found.compressed_keys, expected.compressed_keys), judge(found.compressed_values, expected.compressed_values);
  errors.gradients = most > 0 ? worst / most : worst;
  return errors;
}

/// Whether every query has the blocks that the definition gives it, but for scores that rounding puts in another order.
bool selects_greatest(const NativeCase& job, const NativeInputs& inputs, const NativeFound& found, double tolerance) {
  const NaiveNativeSparse naive(job.problem, job.sparse, inputs);
  for (std::int64_t query = 0; query < job.problem.query_tokens; ++query) {
    for (int head = 0; head < job.problem.query_heads; ++head) {
      const std::vector<double> scores = naive.block_scores(query, head);
      double least_taken = HUGE_VAL, greatest_left = -HUGE_VAL;
      std::int64_t taken = 0;
      for (std::int64_t block = 0; block < std::ssize(scores); ++block) {
        const bool selected = found.selected(query, block, head, job.sparse);
        const bool forced = block < job.sparse.first_blocks || block >= std::ssize(scores) - job.sparse.local_blocks;
        taken += selected;
        if (forced && !selected) return false;
        if (forced) continue;
        const double score = scores[static_cast<std::size_t>(block)];
        (selected ? least_taken : greatest_left) = selected ? std::min(least_taken, score) : std::max(greatest_left, score);
      }
      if (taken != std::min<std::int64_t>(job.sparse.select_blocks, std::ssize(scores))) return false;
      if (greatest_left > least_taken + tolerance) return false;
    }
  }
  return true;
}

NativeSparse random_native_sparse(Random& random) {
  NativeSparse sparse;
  sparse.stride = draw(random, 1, 6);
  sparse.block = sparse.stride * draw(random, 1, 3);
  sparse.select_block = sparse.stride * draw(random, 1, 4);
  sparse.first_blocks = draw(random, 0, 2), sparse.local_blocks = draw(random, 1, 3);
  sparse.select_blocks = sparse.first_blocks + sparse.local_blocks + draw(random, 0, 4);
  sparse.window = draw(random, 1, 40);
  if (draw(random, 0, 2) == 0) sparse.compression = Compression::given;
  return sparse;
}

NativeCase random_native_case(Random& random, int ranks) {
  const int key_heads = static_cast<int>(draw(random, 1, 3)), group = static_cast<int>(draw(random, 1, 3));
  NativeCase job(draw(random, 0, 1) ? draw(random, 1, 160) : draw(random, 1, 30), key_heads * group, key_heads,
                 static_cast<int>(draw(random, 1, 20)), static_cast<int>(draw(random, 1, 20)));
  job.sparse = random_native_sparse(random);
  if (job.problem.head_dim > 1 && draw(random, 0, 2) == 0) job.problem.rotary = random_rotary(random, job.problem.head_dim);
  if (draw(random, 0, 3) == 0) job.problem.scale = 0.3;
  constexpr const char* kPartitions[] = {"contiguous", "zigzag", "striped", "striped(7)", "balanced", "auto"};
  job.options.partition = PartitionChoice::parse(kPartitions[draw(random, 0, 5)]);
  constexpr Strategy kStrategies[] = {Strategy::ring, Strategy::all_gather, Strategy::bidirectional_ring, Strategy::ulysses,
                                      Strategy::automatic};
  job.options.strategy = kStrategies[draw(random, 0, 4)];
  const bool by_head = job.options.strategy.kind == Strategy::ulysses;
  job.options.backward = by_head || draw(random, 0, 1) ? Backward::keys_travel : Backward::queries_travel;
  if (draw(random, 0, 1)) job.options.unit_tokens = draw(random, 5, 40);
  job.text = to_string(job.sparse) + ", " + std::to_string(job.problem.key_tokens) + " tokens, " +
             std::to_string(job.problem.query_heads) + "/" + std::to_string(key_heads) + " heads of " +
             std::to_string(job.problem.head_dim) + ", " + job.options.partition.text() + ", " + to_string(job.options.strategy) +
             ", " + std::to_string(ranks) + " ranks" + (job.problem.rotary ? ", rotary" : "");
  return job;
}

std::string refusal(const NativeCase& job) {
  std::string said = "accepted";
  run_loopback(2, [&](Transport& transport) {
    try {
      NativeSparseAttention(transport, job.problem, job.sparse, job.options);
    } catch (const std::invalid_argument& error) {
      if (transport.rank() == 0) said = error.what();
    }
  });
  return said;
}

}  // namespace

TEST_CASE("the naive native sparse attention has the gradients that small steps show") {
  NativeCase job(30, 2, 1, 4, 3);
  job.sparse = kSmall;
  for (const Compression compression : {Compression::mean, Compression::given}) {
    job.sparse.compression = compression;
    const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, 31);
    NaiveNativeSparse naive(job.problem, job.sparse, inputs);
    const auto selected = [](std::int64_t query, std::int64_t block, int) { return block == 0 || query / 8 - block < 2; };
    const NativeResult gradients = naive.run(selected);
    const auto loss = [&] {
      naive.compress();
      double sum = 0;
      const std::vector<double> out = naive.out(selected);
      for (std::size_t at = 0; at < out.size(); ++at) sum += out[at] * naive.grad_out[at];
      return sum;
    };
    const auto check = [&](std::vector<double>& tensor, const std::vector<double>& expected) {
      for (std::size_t at = 0; at < tensor.size(); at += 7) {
        const double was = tensor[at], step = 1e-5;
        tensor[at] = was + step;
        const double above = loss();
        tensor[at] = was - step;
        const double below = loss();
        tensor[at] = was;
        CHECK(expected[at] == Approx((above - below) / (2 * step)).margin(1e-6));
      }
    };
    check(naive.queries, gradients.queries), check(naive.keys, gradients.keys), check(naive.values, gradients.values);
    check(naive.gates, gradients.gates);
    if (compression == Compression::mean) continue;
    check(naive.compressed_keys, gradients.compressed_keys), check(naive.compressed_values, gradients.compressed_values);
  }
}

TEST_CASE("native sparse attention of random jobs on 1 to 8 ranks selects, attends and differentiates as the definition does") {
  Random random(32);
  for (int round = 0; round < 60; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const NativeCase job = random_native_case(random, ranks);
    const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, random());
    INFO("round " << round << ": " << job.text);
    const NativeFound found = run_native(job, inputs, ranks);
    CHECK(found.same_selection);
    CHECK(selects_greatest(job, inputs, found, 1e-5));
    const NativeErrors errors = compare(job, inputs, found);
    CHECK(errors.out < 3e-6);
    CHECK(errors.gradients < 5e-6);
  }
}

TEST_CASE("native sparse attention in bf16 and f16 is as near to its definition as their roundings are") {
  NativeCase job(150, 4, 2, 32, 32);
  job.sparse = kSmall;
  const std::pair<Type, double> kinds[] = {{Type::f32, 4e-6}, {Type::f16, 4e-3}, {Type::bf16, 2e-2}};
  for (const auto& [type, limit] : kinds) {
    job.problem.type = type;
    const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, 33);
    for (const int ranks : {1, 3}) {
      INFO(to_string(type) << ", " << ranks << " ranks");
      const NativeFound found = run_native(job, inputs, ranks);
      CHECK(selects_greatest(job, inputs, found, 1e-2));
      const NativeErrors errors = compare(job, inputs, found);
      CHECK(errors.out < limit);
      CHECK(errors.gradients < limit);
    }
  }
}

TEST_CASE("native sparse attention selects the same blocks, to the bit, on any ranks and wherever rows lie") {
  for (const Type type : {Type::f32, Type::bf16}) {
    NativeCase job(1237, 4, 2, 16, 16);
    job.problem.type = type;
    job.problem.rotary = Rotary{.base = 1000, .dims = 12};
    job.options.backward = Backward::none;
    const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, 34);
    const std::vector<std::uint64_t> expected = run_native(job, inputs, 1).words();
    for (const int ranks : {2, 3, 4, 5, 8}) {
      for (const char* partition : {"contiguous", "zigzag", "striped(37)"}) {
        job.options.partition = PartitionChoice::parse(partition);
        const NativeFound found = run_native(job, inputs, ranks);
        INFO(to_string(type) << ", " << partition << ", " << ranks << " ranks");
        CHECK((found.same_selection && found.words() == expected));
      }
    }
  }
}

TEST_CASE("native sparse attention knows fewer tokens than a block, than ranks, one token, and none") {
  for (const std::int64_t tokens : {0, 1, 3, 7, 8, 9}) {
    NativeCase job(tokens, 2, 1, 5, 4);
    job.sparse = kSmall;
    for (const Compression compression : {Compression::mean, Compression::given}) {
      job.sparse.compression = compression;
      const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, 35);
      for (const int ranks : {1, 2, 5}) {
        INFO(tokens << " tokens, " << ranks << " ranks");
        const NativeErrors errors = compare(job, inputs, run_native(job, inputs, ranks));
        CHECK(errors.out < 3e-6);
        CHECK(errors.gradients < 5e-6);
      }
    }
  }
}

TEST_CASE("blocks lie with their first token, are seen when they are complete, and each step of the staircase says so") {
  const PooledBlocks blocks(4, 2, 9);
  CHECK(blocks.count() == 3);
  CHECK(blocks.held({{{0, 3}, {8, 9}}, {{3, 8}}}) == RowMap{{{0, 2}}, {{2, 3}}});
  CHECK(PooledBlocks(4, 2, 3).count() == 0);
  CHECK(PooledBlocks(32, 16, 0).count() == 0);
  Random random(36);
  for (int round = 0; round < 50; ++round) {
    const NativeSparse sparse = random_native_sparse(random);
    const std::int64_t tokens = draw(random, 1, 100);
    const PooledBlocks pooled(sparse.block, sparse.stride, tokens);
    CHECK(pooled.count() == compressed_count(sparse, tokens));
    if (pooled.count() == 0) continue;
    const Bands bands = pooled.staircase().bands();
    for (std::int64_t query = 0; query < tokens; ++query) {
      std::int64_t seen = 0;
      for (std::int64_t block = 0; block < pooled.count(); ++block) {
        const bool complete = block * sparse.stride + sparse.block - 1 <= query;
        CHECK(bands.visible(query, block) == complete);
        seen += complete;
      }
      CHECK(pooled.seen_by(query) == seen);
    }
  }
}

TEST_CASE("states of several layers take turns in one native sparse attention") {
  NativeCase job(90, 2, 2, 8, 8);
  job.sparse = kSmall;
  const NativeInputs layers[] = {random_native_inputs(job.problem, job.sparse, 37),
                                 random_native_inputs(job.problem, job.sparse, 38)};
  NativeFound found[] = {NativeFound(job, layers[0]), NativeFound(job, layers[1])};
  run_loopback(3, [&](Transport& transport) {
    NativeSparseAttention attention(transport, job.problem, job.sparse, job.options);
    NativeSparseState states[2];
    NativeRows rows[] = {NativeRows(job, layers[0], attention), NativeRows(job, layers[1], attention)};
    for (int layer = 0; layer < 2; ++layer) attention.forward(rows[layer].forward(), states[layer]);
    for (int layer = 1; layer >= 0; --layer) attention.backward(rows[layer].backward(), states[layer]);
    for (int layer = 0; layer < 2; ++layer) rows[layer].write_to(found[layer]);
    for (int layer = 0; layer < 2 && transport.rank() == 0; ++layer) found[layer].selection = *states[layer].selection;
  });
  CHECK(found[0].words() != found[1].words());
  for (int layer = 0; layer < 2; ++layer) CHECK(compare(job, layers[layer], found[layer]).gradients < 5e-6);
}

TEST_CASE("what native sparse attention is not made for is refused by name, on every rank, with a remedy") {
  const auto with = [](auto&& change) {
    NativeCase job(64, 2, 1, 8, 8);
    change(job);
    return refusal(job);
  };
  CHECK(with([](NativeCase&) {}) == "accepted");
  CHECK_THAT(with([](NativeCase& job) { job.problem.mask = Mask::full(); }), Catch::Contains("mask causal"));
  CHECK_THAT(with([](NativeCase& job) { job.problem.query_offset = 1; }), Catch::Contains("self-attention"));
  CHECK_THAT(with([](NativeCase& job) { job.problem.softcap = 30; }), Catch::Contains("cap"));
  CHECK_THAT(with([](NativeCase& job) { job.problem.bias = PositionBias::alibi; }), Catch::Contains("ALiBi"));
  CHECK_THAT(with([](NativeCase& job) { job.problem.sinks = SinkLogits::learned; }), Catch::Contains("sink"));
  CHECK_THAT(with([](NativeCase& job) { job.problem.dropout = Dropout{.probability = 0.1, .seed = 1}; }),
             Catch::Contains("dropout"));
  CHECK_THAT(
      with([](NativeCase& job) { job.problem.rotary.emplace(), job.problem.dual_chunk = DualChunk{.chunk = 32, .local = 8}; }),
      Catch::Contains("dual chunk"));
  CHECK_THAT(with([](NativeCase& job) { job.sparse.block = 40; }), Catch::Contains("block is 40") && Catch::Contains("multiple"));
  CHECK_THAT(with([](NativeCase& job) { job.sparse.select_block = 8; }), Catch::Contains("select_block is 8"));
  CHECK_THAT(with([](NativeCase& job) { job.sparse.select_blocks = 2; }), Catch::Contains("from 3"));
  CHECK_THAT(with([](NativeCase& job) { job.sparse.window = 0; }), Catch::Contains("window is 0"));
  CHECK_THAT(with([](NativeCase& job) {
               job.problem.query_tokens = job.problem.key_tokens = 1 << 20, job.problem.query_heads = 8, job.problem.key_heads = 2;
             }),
             Catch::Contains("2^34"));
  CHECK_THAT(with([](NativeCase& job) {
               job.options.partition = PartitionChoice::layout({{{0, 64}, 0}}, {{{0, 64}, 1}});
             }),
             Catch::Contains("one layout"));
}

TEST_CASE("operands that do not fit, states of no call and gradients that were not planned are refused on every rank") {
  NativeCase job(40, 2, 1, 8, 8);
  job.sparse = kSmall;
  const NativeInputs inputs = random_native_inputs(job.problem, job.sparse, 39);
  const auto heard = [&](const NativeCase& with, auto&& call) {
    std::vector<std::string> said(2, "nothing");
    run_loopback(2, [&](Transport& transport) {
      NativeSparseAttention attention(transport, with.problem, with.sparse, with.options);
      NativeRows rows(with, inputs, attention);
      NativeSparseState state;
      try {
        call(attention, rows, state, transport.rank());
      } catch (const std::invalid_argument& error) {
        said[static_cast<std::size_t>(transport.rank())] = error.what();
      }
    });
    CHECK(said[0] == said[1]);
    return said[0];
  };
  using Native = NativeSparseAttention;
  CHECK_THAT(heard(job,
                   [](Native& attention, NativeRows& rows, NativeSparseState& state, int rank) {
                     NativeSparseOperands operands = rows.forward();
                     if (rank == 1) operands.gates.dim = 2;
                     attention.forward(operands, state);
                   }),
             Catch::Contains("gates is"));
  CHECK_THAT(heard(job,
                   [](Native& attention, NativeRows& rows, NativeSparseState& state, int) {
                     NativeSparseOperands operands = rows.forward();
                     operands.compressed_keys = operands.keys;
                     attention.forward(operands, state);
                   }),
             Catch::Contains("compressed rows are given"));
  CHECK_THAT(heard(job, [](Native& attention, NativeRows& rows, NativeSparseState& state,
                           int) { attention.backward(rows.backward(), state); }),
             Catch::Contains("state"));
  NativeCase without = job;
  without.options.backward = Backward::none;
  CHECK_THAT(heard(without,
                   [](Native& attention, NativeRows& rows, NativeSparseState& state, int) {
                     attention.forward(rows.forward(), state);
                     attention.backward(rows.backward(), state);
                   }),
             Catch::Contains("no gradients"));
}
