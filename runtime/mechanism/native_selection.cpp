#include "runtime/mechanism/native_selection.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace gyre {
namespace {

/// What a worker scores into.
struct Scratch {
  AlignedFloats products;      // [tokens of a task][group][compressed keys]
  std::vector<float> weights;  // [compressed keys, to the end of a vector], of all heads of the group
  std::vector<float> sums;     // [blocks]
  std::vector<std::int32_t> taken;
};

/// The softmax of `count` products, of which the last vector has room to its end, added to `weights`, which has as much. Lane by
/// lane, so that compilers make vectors of it and the order of additions is still fixed.
void add_softmax(float* products, std::int64_t count, float factor, float* weights) {
  const std::int64_t padded = panels_of(count) * kStrip;
  float most[kStrip];
  std::fill_n(most, kStrip, -std::numeric_limits<float>::infinity());
  for (std::int64_t key = 0; key < padded; ++key) products[key] *= factor;
  std::fill(products + count, products + padded, -std::numeric_limits<float>::infinity());
  for (std::int64_t key = 0; key < padded; key += kStrip) {
    for (std::int64_t lane = 0; lane < kStrip; ++lane) most[lane] = std::max(most[lane], products[key + lane]);
  }
  const float greatest = *std::max_element(most, most + kStrip);
  for (std::int64_t key = 0; key < padded; ++key) products[key] = exp_of_fall(products[key] - greatest);
  float sums[kStrip] = {};
  for (std::int64_t key = 0; key < padded; key += kStrip) {
    for (std::int64_t lane = 0; lane < kStrip; ++lane) sums[lane] += products[key + lane];
  }
  const float share = 1.0F / std::accumulate(sums, sums + kStrip, 0.0F);
  for (std::int64_t key = 0; key < padded; ++key) weights[key] += products[key] * share;
}

/// The choice of one group's queries on this rank.
class Selection {
 public:
  Selection(const Estimator& estimator, const NativeSparse& sparse, const PooledBlocks& blocks)
      : estimator_(estimator),
        sparse_(sparse),
        blocks_(blocks),
        positions_(listed(estimator.queries.held[static_cast<std::size_t>(estimator.rank())])),
        group_(estimator.problem.group()),
        dims_(estimator.problem.head_dim),
        factor_(static_cast<float>(estimator.problem.score_scale())),
        scratch_(static_cast<std::size_t>(estimator.team.size())) {}

  /// Collective.
  void choose(int key_head, ChosenRows& chosen) {
    const std::int64_t first_head = std::int64_t{key_head} * group_;
    queries_ = fetch_rows(estimator_.transport, estimator_.queries, {first_head, first_head + group_}, estimator_.problem.type,
                          estimator_.queries.held);
    const RowMap everyone(estimator_.queries.held.size(), std::vector<Range>{{0, blocks_.count()}});
    pack_panels(estimator_, estimator_.fetch_keys(key_head, everyone), dims_, panels_);
    const std::int64_t rows = std::ssize(positions_), of_a_task = std::max<std::int64_t>(1, 32 / group_);
    estimator_.each((rows + of_a_task - 1) / of_a_task, [&](int task, int worker) {
      choose({task * of_a_task, std::min(rows, (task + 1) * of_a_task)}, scratch_[static_cast<std::size_t>(worker)], chosen);
    });
  }

 private:
  /// rows: of this rank.
  void choose(Range rows, Scratch& own, ChosenRows& chosen) const {
    const std::int64_t stride = panels_of(blocks_.seen_by(positions_[static_cast<std::size_t>(rows.end - 1)])) * kStrip;
    float* const products = own.products.resize(rows.size() * group_ * panels_of(blocks_.count()) * kStrip);  // once
    if (stride > 0)
      estimator_.kernels.products({.rows = static_cast<int>(rows.size() * group_),
                                   .dims = dims_,
                                   .panels = stride / kStrip,
                                   .queries = queries_.data() + rows.begin * group_ * dims_,
                                   .keys = panels_.data(),
                                   .products = products,
                                   .stride = stride});
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int64_t position = positions_[static_cast<std::size_t>(row)], seen = blocks_.seen_by(position);
      own.weights.assign(static_cast<std::size_t>(panels_of(seen) * kStrip), 0.0F);
      for (std::int64_t head = 0; head < group_ && seen > 0; ++head)
        add_softmax(products + ((row - rows.begin) * group_ + head) * stride, seen, factor_, own.weights.data());
      take(position, row, own, chosen);
    }
  }

  /// The blocks of one query, from the weights of the compressed keys that it sees.
  void take(std::int64_t position, std::int64_t row, Scratch& own, ChosenRows& chosen) const {
    const std::int64_t count = position / sparse_.select_block + 1, cells = sparse_.select_block / sparse_.stride;
    own.sums.resize(static_cast<std::size_t>(count));
    for (std::int64_t block = 0; block < count; ++block) {
      const bool forced = block < sparse_.first_blocks || block >= count - sparse_.local_blocks;
      float sum = 0;
      for (std::int64_t cell = block * cells; cell < (block + 1) * cells; ++cell) sum += weight_of(cell, own.weights);
      own.sums[static_cast<std::size_t>(block)] = forced ? std::numeric_limits<float>::infinity() : sum;
    }
    take_greatest(own.sums.data(), count, sparse_.select_blocks, own.taken);
    for (const std::int32_t block : own.taken) chosen.choose(row, block);
  }

  /// Of `stride` tokens: that of the compressed blocks that hold them.
  float weight_of(std::int64_t cell, std::span<const float> weights) const {
    const std::int64_t first = std::max<std::int64_t>(0, cell + 1 - sparse_.block / sparse_.stride);
    float sum = 0;
    for (std::int64_t block = first; block <= std::min(cell, std::ssize(weights) - 1); ++block)
      sum += weights[static_cast<std::size_t>(block)];
    return sum;
  }

  const Estimator& estimator_;
  const NativeSparse& sparse_;
  const PooledBlocks& blocks_;
  std::vector<std::int64_t> positions_;
  std::int64_t group_;
  int dims_;
  float factor_;
  std::vector<Scratch> scratch_;
  std::vector<float> queries_;  // [own rows][group][dims]
  AlignedFloats panels_;        // of every compressed key
};

}  // namespace

BlockShape native_selection_shape(const NativeSparse& sparse, const Problem& problem) {
  return {.query_tokens = 1,
          .key_tokens = sparse.select_block,
          .heads = problem.key_heads == 1 ? 1 : problem.query_heads,
          .rows = problem.query_tokens,
          .columns = (problem.key_tokens + sparse.select_block - 1) / sparse.select_block};
}

BlockTable select_native(const Estimator& estimator, const NativeSparse& sparse, const PooledBlocks& blocks) {
  BlockTable table(native_selection_shape(sparse, estimator.problem));
  ChosenRows chosen(table.shape(), estimator.queries.held, estimator.rank());
  Selection selection(estimator, sparse, blocks);
  const std::int64_t group = table.shape().heads / estimator.problem.key_heads;  // planes that a key head's queries have
  for (int key_head = 0; key_head < estimator.problem.key_heads; ++key_head) {
    selection.choose(key_head, chosen);
    chosen.show(estimator.transport, {key_head * group, (key_head + 1) * group}, table);
  }
  return table;
}

}  // namespace gyre
