#include "runtime/mechanism/indexer.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "comm/agreement.hpp"
#include "runtime/mechanism/estimator.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kRows = 16;     // queries of a task
constexpr std::int64_t kPiece = 2048;  // keys whose products are in memory at once

/// Index queries and weights of this rank's tokens, and every index key.
class Index {
 public:
  Index(const Estimator& estimator, const RowsOnRanks& weights)
      : estimator_(estimator),
        heads_(estimator.queries.rows.heads),
        dims_(estimator.queries.rows.dim),
        positions_(listed(estimator.queries.held[static_cast<std::size_t>(estimator.rank())])),
        scratch_(static_cast<std::size_t>(estimator.team.size())) {
    const RowMap& held = estimator.queries.held;
    const RowMap everyone(held.size(), std::vector<Range>{{0, estimator.tokens()}});
    queries_ = fetch_rows(estimator.transport, estimator.queries, {0, heads_}, Type::f32, held);
    weights_ = fetch_rows(estimator.transport, weights, {0, 1}, Type::f32, held);
    pack_panels(estimator, fetch_rows(estimator.transport, estimator.keys, {0, 1}, Type::f32, everyone), dims_, panels_);
  }

  /// Of each own token the keys of greatest score. Local.
  void choose(std::int64_t kept, ChosenRows& chosen) {
    const std::int64_t rows = std::ssize(positions_);
    estimator_.each((rows + kRows - 1) / kRows, [&](int task, int worker) {
      Scratch& own = scratch_[static_cast<std::size_t>(worker)];
      own.products.resize(heads_ * kPiece);
      own.scores.resize(static_cast<std::size_t>(estimator_.tokens()));
      for (std::int64_t row = task * kRows; row < std::min(rows, (task + 1) * kRows); ++row) {
        const std::int64_t seen = positions_[static_cast<std::size_t>(row)] + 1;
        for (std::int64_t begin = 0; begin < seen; begin += kPiece) score(row, {begin, std::min(seen, begin + kPiece)}, own);
        take_greatest(own.scores.data(), seen, kept, own.taken);
        for (const std::int32_t key : own.taken) chosen.choose(row, key);
      }
    });
  }

 private:
  /// What a worker scores into.
  struct Scratch {
    AlignedFloats products;     // [index heads][kPiece]
    std::vector<float> scores;  // [tokens]
    std::vector<std::int32_t> taken;
  };

  /// A row with some keys: its heads' products, added up head by head.
  void score(std::int64_t row, Range keys, Scratch& own) const {
    estimator_.kernels.products({.rows = heads_,
                                 .dims = dims_,
                                 .panels = panels_of(keys.size()),
                                 .queries = queries_.data() + row * heads_ * dims_,
                                 .keys = panels_.data() + keys.begin * dims_,
                                 .products = own.products.data(),
                                 .stride = kPiece});
    const float* const weights = weights_.data() + row * heads_;
    float* const scores = own.scores.data() + keys.begin;
    std::fill_n(scores, keys.size(), 0.0F);
    for (int head = 0; head < heads_; ++head) {
      const float* const products = own.products.data() + head * kPiece;
      for (std::int64_t key = 0; key < keys.size(); ++key)
        scores[key] += weights[head] * (products[key] > 0 ? products[key] : 0.0F);
    }
  }

  const Estimator& estimator_;
  int heads_, dims_;
  std::vector<std::int64_t> positions_;
  std::vector<Scratch> scratch_;
  std::vector<float> queries_, weights_;
  AlignedFloats panels_;
};

void require(const Problem& problem, const IndexRows& rows, std::int64_t kept) {
  problem.validate();
  const std::int64_t tokens = count_of(rows.token_rows);
  const auto refuse = [](const std::string& text) { throw std::invalid_argument("an index " + text); };
  if (!problem.self_attention() || !std::ranges::equal(problem.mask.bands().all(), Mask::causal().bands().all()))
    refuse("is for causal self-attention; give that mask, as many queries as keys, and no query offset");
  if (kept < 1) refuse("keeps " + std::to_string(kept) + " keys; keep at least 1");
  if (rows.queries.tokens != tokens || rows.keys.tokens != tokens || rows.weights.tokens != tokens)
    refuse("has other numbers of rows than its ranges, " + std::to_string(tokens) + "; give each token's");
  if (rows.keys.heads != 1 || rows.keys.dim != rows.queries.dim || rows.weights.heads != 1 ||
      rows.weights.dim != rows.queries.heads)
    refuse("wants one key of the queries' dim, and one weight for each of their heads");
}

}  // namespace

Mask select_indexed_keys(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem,
                         const IndexRows& rows, std::int64_t kept) {
  together(transport, [&] { require(problem, rows, kept); });
  agree(transport, {{"index keys kept", std::to_string(kept)},
                    {"index heads", std::to_string(rows.queries.heads)},
                    {"index dim", std::to_string(rows.queries.dim)}});
  const RowMap held = gather_row_map(transport, rows.token_rows);
  const std::int64_t tokens = problem.key_tokens;
  require_covered(held, tokens, "index");
  if (tokens == 0) return problem.mask;
  const Estimator estimator{.transport = transport,
                            .team = team,
                            .kernels = kernels,
                            .problem = problem,
                            .queries = {.rows = rows.queries, .held = held},
                            .keys = {.rows = rows.keys, .held = held}};
  BlockTable table({.query_tokens = 1, .key_tokens = 1, .heads = 1, .rows = tokens, .columns = tokens});
  ChosenRows chosen(table.shape(), held, transport.rank());
  Index(estimator, {.rows = rows.weights, .held = held}).choose(kept, chosen);
  chosen.show(transport, 0, table);
  return problem.mask & Mask::blocks(std::move(table), "index(" + std::to_string(kept) + ')');
}

}  // namespace gyre
