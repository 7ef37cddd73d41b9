// Estimators beside their definitions, transcribed in float64 as naively as they are said.
#include <cmath>
#include <numeric>

#include "runtime/mechanism/indexer.hpp"
#include "runtime/mechanism/pooled.hpp"
#include "runtime/mechanism/recall.hpp"
#include "runtime/mechanism/vertical_slash.hpp"
#include "runtime/mechanism/xattention.hpp"
#include "sparse_case.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

constexpr double kTolerance = 1e-5;  // of scores of some units, in fp32

std::vector<int> all_heads(const SparseCase& job) {
  std::vector<int> heads(static_cast<std::size_t>(job.problem.query_heads));
  std::iota(heads.begin(), heads.end(), 0);
  return heads;
}

using RowOf = std::function<const float*(std::int64_t token)>;

std::vector<double> mean_of(const SparseCase& job, const RowOf& row, std::int64_t block, std::int64_t block_tokens) {
  std::vector<double> mean(static_cast<std::size_t>(job.problem.head_dim));
  const std::int64_t begin = block * block_tokens, end = std::min(job.tokens(), begin + block_tokens);
  for (std::int64_t token = begin; token < end; ++token) {
    for (std::size_t dim = 0; dim < mean.size(); ++dim) mean[dim] += double{row(token)[dim]} / static_cast<double>(end - begin);
  }
  return mean;
}

double product(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Softmax weights of scores.
std::vector<double> softmax(std::vector<double> scores) {
  const double most = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - most);
  for (double& score : scores) score /= total;
  return scores;
}

/// MInference's last 64 queries: weights added up by key and by bins of 64 distances.
struct Looked {
  std::vector<double> columns, bins;
};
Looked look(const SparseCase& job, int head) {
  const std::int64_t tokens = job.tokens();
  Looked looked{std::vector<double>(static_cast<std::size_t>(tokens)),
                std::vector<double>(static_cast<std::size_t>((tokens + 63) / 64))};
  for (std::int64_t i = std::max<std::int64_t>(0, tokens - 64); i < tokens; ++i) {
    std::vector<double> scores;
    for (std::int64_t j = 0; j <= i; ++j)
      scores.push_back(job.problem.score_scale() * job.product(job.query(i, head), job.key(j, head)));
    const std::vector<double> weights = softmax(scores);
    for (std::int64_t j = 0; j <= i; ++j) {
      looked.columns[j] += weights[j];
      looked.bins[(i - j) / 64] += weights[j];
    }
  }
  return looked;
}

/// XAttention's masses of the blocks that a row of blocks may see.
std::vector<double> antidiagonal_masses(const SparseCase& job, int head, std::int64_t block, std::int64_t stride) {
  std::vector<double> masses(static_cast<std::size_t>(block + 1));
  for (std::int64_t a = block * 128 / stride; a < (block + 1) * 128 / stride && a * stride < job.tokens(); ++a) {
    std::vector<double> logits;
    for (std::int64_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (std::int64_t t = 0; t < stride; ++t) {
        const std::int64_t i = a * stride + stride - 1 - t, j = b * stride + t;
        if (i < job.tokens() && j < job.tokens()) sum += job.product(job.query(i, head), job.key(j, head));
      }
      logits.push_back(sum * job.problem.score_scale() / static_cast<double>(stride));
    }
    const std::vector<double> weights = softmax(logits);
    for (std::size_t b = 0; b < weights.size(); ++b) masses[b * static_cast<std::size_t>(stride) / 128] += weights[b];
  }
  return masses;
}

/// Whether taken blocks are the forced ones and then those of most mass, just until the threshold is reached.
bool takes_just_enough(const BlockTable& table, int head, std::int64_t row, const std::vector<double>& masses, double threshold) {
  constexpr double kClose = 1e-5;
  double kept = 0, least = HUGE_VAL, left = 0;
  for (std::int64_t block = 0; block < table.shape().columns; ++block) {
    const bool visible = table.visible(head, row, block), forced = block == 0 || block == row;
    if (block > row && visible) return false;
    if (block > row) break;
    if (forced && !visible) return false;
    if (visible) kept += masses[block];
    if (visible && !forced) least = std::min(least, masses[block]);
    if (!visible) left = std::max(left, masses[block]);
  }
  const double wanted = threshold * std::accumulate(masses.begin(), masses.end(), 0.0);
  return kept >= wanted - kClose && (least == HUGE_VAL || kept - least < wanted + kClose) && left <= least + kClose;
}

}  // namespace

TEST_CASE("block_topk takes for every block of queries those blocks of keys whose means have the greatest products") {
  const SparseCase job(1000, 4, 2, 12, 11);  // a short last block
  const std::vector<int> heads{0, 1, 3};
  const BlockTable table =
      table_of<BlockTable>(job, [&](const Estimator& estimator) { return select_block_topk(estimator, {.blocks = 5}, heads); });
  REQUIRE(table.shape() == BlockShape{.query_tokens = 64, .key_tokens = 64, .heads = 4, .rows = 16, .columns = 16});
  for (std::int64_t row = 0; row < 16; ++row) {
    for (const int head : heads) {
      const auto query = mean_of(
          job, [&](std::int64_t token) { return job.query(token, head); }, row, 64);
      std::vector<double> scores;
      for (std::int64_t column = 0; column <= row; ++column)
        scores.push_back(product(query, mean_of(
                                            job, [&](std::int64_t token) { return job.key(token, head); }, column, 64)));
      CHECK(takes_greatest(table, head, row, scores, 5, kTolerance));
    }
    CHECK(table.count(2, row, {0, 16}) == 0);
  }
}

TEST_CASE("moba takes for every query its own block and those before it whose means have the greatest products with it") {
  const SparseCase job(500, 2, 1, 8, 12);
  for (const std::int64_t blocks : {1, 4}) {
    const BlockTable table = table_of<BlockTable>(job, [&](const Estimator& estimator) {
      return select_moba(estimator, {.block_tokens = 48, .blocks = blocks}, all_heads(job));
    });
    REQUIRE(table.shape() == BlockShape{.query_tokens = 1, .key_tokens = 48, .heads = 2, .rows = 500, .columns = 11});
    int wrong = 0;
    for (int head = 0; head < 2; ++head) {
      for (std::int64_t i = 0; i < 500; ++i) {
        const std::vector<double> query(job.query(i, head), job.query(i, head) + job.problem.head_dim);
        std::vector<double> scores;
        for (std::int64_t block = 0; block <= i / 48; ++block)
          scores.push_back(product(query, mean_of(
                                              job, [&](std::int64_t token) { return job.key(token, head); }, block, 48)));
        wrong += !takes_greatest(table, head, i, scores, blocks, kTolerance, {i / 48});
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("vertical_slash takes the columns and the bins of diagonals that the last queries look at most, forced ones among them") {
  for (const std::int64_t tokens : {40, 1500}) {
    const SparseCase job(tokens, 2, 1, 16, 13);
    const ColumnsAndDiagonals tables = table_of<ColumnsAndDiagonals>(job, [&](const Estimator& estimator) {
      return select_vertical_slash(estimator, {.columns = 100, .diagonals = 450}, all_heads(job));
    });
    std::set<std::int64_t> columns, bins;
    for (std::int64_t column = 0; column < std::min<std::int64_t>(30, tokens); ++column) columns.insert(column);
    for (std::int64_t bin = 0; bin < 2 && bin * 64 < tokens; ++bin) bins.insert(bin);
    for (int head = 0; head < 2; ++head) {
      const Looked looked = look(job, head);
      CHECK(takes_greatest(tables.columns, head, 0, looked.columns, 100, 1e-6, columns));
      CHECK(takes_greatest(tables.diagonals.front(), head, 0, looked.bins, 8, 1e-5, bins));
    }
  }
}

TEST_CASE("xattention keeps the first block, the own one, and those of most antidiagonal mass until the threshold is reached") {
  const SparseCase job(4500, 2, 1, 4, 14);  // two pieces of keys; a short last block, and a short last group in it
  for (const auto& [stride, threshold] : {std::pair{16, 0.6}, {8, 0.9}, {128, 0.3}}) {
    const BlockTable table = table_of<BlockTable>(job, [&](const Estimator& estimator) {
      return select_xattention(estimator, {.stride = stride, .threshold = threshold}, all_heads(job));
    });
    std::int64_t taken = 0;
    for (int head = 0; head < 2; ++head) {
      for (std::int64_t row = 0; row < table.shape().rows; ++row) {
        INFO("stride " << stride << ", head " << head << ", row " << row);
        CHECK(takes_just_enough(table, head, row, antidiagonal_masses(job, head, row, stride), threshold));
        taken += table.count(head, row, {0, row + 1});
      }
    }
    CHECK(taken < 2 * 36 * 37 / 2);
  }
}

TEST_CASE("of equal scores those with the lowest index are taken, by every estimator") {
  SparseCase job(1024, 1, 1, 8, 18);
  std::fill(job.tensors.keys.begin(), job.tensors.keys.end(), 0.0F);
  const std::vector<int> heads{0};
  const auto columns_of = [](const BlockTable& table, std::int64_t row) {
    std::vector<std::int64_t> columns;
    for (std::int64_t column = 0; column < table.shape().columns; ++column) {
      if (table.visible(0, row, column)) columns.push_back(column);
    }
    return columns;
  };
  using Columns = std::vector<std::int64_t>;
  const auto topk = table_of<BlockTable>(job, [&](const Estimator& e) { return select_block_topk(e, {.blocks = 3}, heads); });
  CHECK(columns_of(topk, 9) == Columns{0, 1, 2});
  const auto moba =
      table_of<BlockTable>(job, [&](const Estimator& e) { return select_moba(e, {.block_tokens = 64, .blocks = 3}, heads); });
  CHECK(columns_of(moba, 700) == Columns{0, 1, 10});
  const auto antidiagonal =
      table_of<BlockTable>(job, [&](const Estimator& e) { return select_xattention(e, {.stride = 16, .threshold = 0.6}, heads); });
  CHECK(columns_of(antidiagonal, 7) == Columns{0, 1, 2, 3, 7});
  const auto looked = table_of<ColumnsAndDiagonals>(
      job, [&](const Estimator& e) { return select_vertical_slash(e, {.columns = 50, .diagonals = 256}, heads); });
  CHECK(looked.columns.count(0, 0, {0, 50}) == 50);
  CHECK(columns_of(looked.diagonals.front(), 0) == Columns{0, 1, 2, 3});
}

TEST_CASE("the estimators' exponential is 1 at 0, 0 far below, and within 2e-6 of the true one where weights count") {
  CHECK(exp_of_fall(0) == 1);
  CHECK(exp_of_fall(-HUGE_VALF) == 0);
  CHECK(exp_of_fall(-1000) == 0);
  double worst = 0;
  for (float x = -20; x < 0; x += 0.001F) {
    const double expected = std::exp(double{x});
    worst = std::max(worst, std::abs(double{exp_of_fall(x)} - expected) / expected);
  }
  CHECK(worst < 2e-6);
}

TEST_CASE("recall is the share of the exact weights that kept pairs have, row by row") {
  const SparseCase job(300, 4, 2, 8, 15);
  const Mask kept = Mask::causal() & (Mask::window(20) | Mask::sinks(3));
  const std::vector<std::int64_t> sample{0, 5, 150, 299};
  double mean = 0, least = 1;
  for (const std::int64_t i : sample) {
    for (int head = 0; head < 4; ++head) {
      std::vector<double> scores;
      for (std::int64_t j = 0; j <= i; ++j)
        scores.push_back(job.problem.score_scale() * job.product(job.query(i, head), job.key(j, head)));
      const std::vector<double> weights = softmax(scores);
      double share = 0;
      for (std::int64_t j = 0; j <= i; ++j) share += i - j <= 20 || j < 3 ? weights[j] : 0;
      mean += share / 16, least = std::min(least, share);
    }
  }
  check_recall(job, kept, sample, mean, least, 1e-9);
}

TEST_CASE("an index keeps of every query the keys of greatest index score, the same ones on any ranks") {
  constexpr std::int64_t kTokens = 2200, kKept = 150;
  constexpr int kIndexHeads = 3, kDim = 6;
  SparseCase job(kTokens, kIndexHeads, 1, kDim, 16);  // its queries and keys serve as the index's
  std::vector<float> weights = random_tensors(job.problem, 17, 1).keys;
  weights.resize(kTokens * kIndexHeads);
  std::vector<std::uint64_t> expected;
  for (const int ranks : {1, 3}) {
    for (const RowMap& placement : placements(kTokens, ranks)) {
      const auto words = on_ranks<std::vector<std::uint64_t>>(
          job, ranks, placement, [&](Transport& transport, Team& team, const EstimateRows& rows) {
            const std::vector<float> own = gather(weights, rows.key_rows, kIndexHeads);
            const TypedRows own_weights(own.data(), Type::f32, rows.keys.tokens, 1, kIndexHeads);
            const Mask mask = select_indexed_keys(
                transport, team, select_kernels(), job.problem,
                {.queries = rows.queries, .keys = rows.keys, .weights = own_weights, .token_rows = rows.key_rows}, kKept);
            const auto all = mask.bands().tables().at(0)->words();
            return std::vector<std::uint64_t>(all.begin(), all.end());
          });
      REQUIRE(words);
      if (expected.empty()) expected = *words;
      CHECK(*words == expected);
    }
  }
  BlockTable table({.query_tokens = 1, .key_tokens = 1, .heads = 1, .rows = kTokens, .columns = kTokens});
  const std::int64_t row_words = std::ssize(expected) / kTokens;
  for (std::int64_t i = 0; i < kTokens; i += 83) {
    std::vector<std::uint8_t> cells(kTokens);
    for (std::int64_t j = 0; j < kTokens; ++j) cells[j] = expected[i * row_words + j / 64] >> j % 64 & 1U;
    table.show(0, i, cells);
    std::vector<double> scores;
    for (std::int64_t j = 0; j <= i; ++j) {
      double score = 0;
      for (int head = 0; head < kIndexHeads; ++head)
        score += double{weights[i * kIndexHeads + head]} * std::max(0.0, job.product(job.query(i, head), job.key(j, head)));
      scores.push_back(score);
    }
    CHECK(takes_greatest(table, 0, i, scores, kKept, 1e-5));
  }
}
