#include "runtime/mechanism/pooled.hpp"

#include <algorithm>
#include <functional>

namespace gyre {
namespace {

/// Of the blocks that this rank took whole: rows [tokens, dims], ranges as whole_blocks() gives them. [blocks][dims]
std::vector<float> means_of(const Estimator& estimator, std::span<const float> rows, std::span<const Range> tokens,
                            std::int64_t block, int dims) {
  struct Block {
    std::int64_t row, count;
  };
  std::vector<Block> blocks;
  std::int64_t before = 0;
  for (const Range range : tokens) {
    for (std::int64_t begin = range.begin; begin < range.end; begin += block)
      blocks.push_back({before + begin - range.begin, std::min(block, range.end - begin)});
    before += range.size();
  }
  std::vector<float> means(blocks.size() * static_cast<std::size_t>(dims));
  estimator.each(std::ssize(blocks), [&](int index, int) {
    const auto [row, count] = blocks[static_cast<std::size_t>(index)];
    float* const mean = means.data() + std::int64_t{index} * dims;
    for (std::int64_t at = row; at < row + count; ++at) {
      for (int dim = 0; dim < dims; ++dim) mean[dim] += rows[static_cast<std::size_t>(at * dims + dim)];
    }
    for (int dim = 0; dim < dims; ++dim) mean[dim] /= static_cast<float>(count);
  });
  return means;
}

/// Of every block of keys of a head, on every rank, as panels. Collective.
void gather_key_means(const Estimator& estimator, int key_head, std::int64_t block, AlignedFloats& panels) {
  const int dims = estimator.problem.head_dim;
  const RowMap tokens = whole_blocks(estimator.keys.held, block, estimator.tokens());
  const auto& own = tokens[static_cast<std::size_t>(estimator.rank())];
  const std::vector<float> mine = means_of(estimator, estimator.fetch_keys(key_head, tokens), own, block, dims);
  const std::int64_t blocks = (estimator.tokens() + block - 1) / block;
  const std::vector<float> all =
      gather_table<float>(estimator.transport, blocks_of(tokens, block), blocks, dims, std::span<const float>(mine));
  pack_panels(estimator, all, dims, panels);
}

/// What a worker scores into.
struct Scratch {
  AlignedFloats products;
  std::vector<std::int32_t> chosen;
};

/// Scores rows against blocks of keys, and hands each row's scores to choose(row, block of the row, scores, scratch). Rows are in
/// ascending order: of the keys' blocks only those up to the last row's are scored.
template <class BlockOf, class Choose>
void score_rows(const Estimator& estimator, std::span<const float> rows, const AlignedFloats& panels, std::vector<Scratch>& scratch,
                BlockOf&& block_of, Choose&& choose) {
  constexpr std::int64_t kRows = 64;
  const int dims = estimator.problem.head_dim;
  const std::int64_t count = std::ssize(rows) / dims;
  estimator.each((count + kRows - 1) / kRows, [&](int task, int worker) {
    const std::int64_t first = task * kRows, end = std::min(count, first + kRows);
    Scratch& own = scratch[static_cast<std::size_t>(worker)];
    const std::int64_t seen = panels_of(block_of(end - 1) + 1), stride = seen * kStrip;
    float* const products = own.products.resize(kRows * stride);
    estimator.kernels.products({.rows = static_cast<int>(end - first),
                                .dims = dims,
                                .panels = seen,
                                .queries = rows.data() + first * dims,
                                .keys = panels.data(),
                                .products = products,
                                .stride = stride});
    const bool falling = estimator.problem.score_scale() < 0;  // then the softmax prefers the least product
    for (std::int64_t row = first; row < end; ++row) {
      float* const scores = products + (row - first) * stride;
      if (falling) std::transform(scores, scores + stride, scores, std::negate<>());
      choose(row, block_of(row), scores, own);
    }
  });
}

/// For each head a table's rows are chosen for: panels of its keys' means, made once for the heads that share them.
template <class Select>
void for_heads(const Estimator& estimator, std::span<const int> heads, std::int64_t block, Select&& select) {
  AlignedFloats panels;
  int packed = -1;
  for (const int head : heads) {
    const int key_head = estimator.key_head_of(head);
    if (key_head != packed) gather_key_means(estimator, key_head, block, panels);
    packed = key_head;
    select(head, panels);
  }
}

BlockShape shape_of(const Estimator& estimator, std::int64_t query_tokens, std::int64_t key_tokens) {
  const auto blocks = [&](std::int64_t tokens) { return (estimator.tokens() + tokens - 1) / tokens; };
  return {.query_tokens = query_tokens,
          .key_tokens = key_tokens,
          .heads = estimator.problem.query_heads,
          .rows = blocks(query_tokens),
          .columns = blocks(key_tokens)};
}

}  // namespace

BlockTable select_block_topk(const Estimator& estimator, const BlockTopk& choice, std::span<const int> heads) {
  constexpr std::int64_t kBlock = BlockTopk::kBlock;
  BlockTable table(shape_of(estimator, kBlock, kBlock));
  const RowMap tokens = whole_blocks(estimator.queries.held, kBlock, estimator.tokens()), rows = blocks_of(tokens, kBlock);
  const auto& own = tokens[static_cast<std::size_t>(estimator.rank())];
  const std::vector<std::int64_t> blocks = listed(rows[static_cast<std::size_t>(estimator.rank())]);
  std::vector<Scratch> scratch(static_cast<std::size_t>(estimator.team.size()));
  ChosenRows chosen(table.shape(), rows, estimator.rank());
  const auto block_of = [&](std::int64_t row) { return blocks[static_cast<std::size_t>(row)]; };
  for_heads(estimator, heads, kBlock, [&](int head, const AlignedFloats& panels) {
    const std::vector<float> means =
        means_of(estimator, estimator.fetch_queries(head, tokens), own, kBlock, estimator.problem.head_dim);
    score_rows(estimator, means, panels, scratch, block_of,
               [&](std::int64_t row, std::int64_t block, const float* scores, Scratch& mine) {
                 take_greatest(scores, block + 1, choice.blocks, mine.chosen);
                 for (const std::int32_t column : mine.chosen) chosen.choose(row, column);
               });
    chosen.show(estimator.transport, head, table);
  });
  return table;
}

BlockTable select_moba(const Estimator& estimator, const Moba& choice, std::span<const int> heads) {
  BlockTable table(shape_of(estimator, 1, choice.block_tokens));
  const RowMap& rows = estimator.queries.held;
  const std::vector<std::int64_t> tokens = listed(rows[static_cast<std::size_t>(estimator.rank())]);
  std::vector<Scratch> scratch(static_cast<std::size_t>(estimator.team.size()));
  ChosenRows chosen(table.shape(), rows, estimator.rank());
  const auto block_of = [&](std::int64_t row) { return tokens[static_cast<std::size_t>(row)] / choice.block_tokens; };
  for_heads(estimator, heads, choice.block_tokens, [&](int head, const AlignedFloats& panels) {
    const std::vector<float> queries = estimator.fetch_queries(head, rows);
    score_rows(estimator, queries, panels, scratch, block_of,
               [&](std::int64_t row, std::int64_t block, const float* scores, Scratch& mine) {
                 take_greatest(scores, block, choice.blocks - 1, mine.chosen);
                 for (const std::int32_t column : mine.chosen) chosen.choose(row, column);
                 chosen.choose(row, block);
               });
    chosen.show(estimator.transport, head, table);
  });
  return table;
}

}  // namespace gyre
