#include "runtime/mechanism/xattention.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace gyre {
namespace {

constexpr std::int64_t kBlock = XAttention::kBlock;
constexpr std::int64_t kPiece = 4096;  // whole blocks

/// What is left of a row of blocks once a piece of keys has gone by.
struct BlockRow {
  std::int64_t block = 0;     // of queries
  std::int64_t groups = 0;    // of them: fewer in a short last block
  std::vector<float> sums;    // [groups][blocks up to its own] of weights relative to the maximum of (group, piece)
  std::vector<float> maxima;  // [groups][pieces]
};

/// A query head's blocks on this rank.
struct HeadRows {
  std::vector<BlockRow> blocks;
  std::vector<float> queries;  // [blocks][groups][dims], reversed
};

/// The estimate of some heads on this rank, which share keys: these are fetched, and packed, once for all.
class Antidiagonals {
 public:
  Antidiagonals(const Estimator& estimator, const XAttention& choice);

  /// Collective.
  void look(std::span<const int> heads);
  /// Of each own block of queries the blocks of keys that the index-th of these heads keeps.
  void choose(std::size_t index, ChosenRows& chosen) const;
  const RowMap& blocks() const { return blocks_; }

 private:
  std::vector<BlockRow> no_sums() const;
  HeadRows take_queries(int head) const;
  /// Collective; empty where no query of this rank sees the piece.
  std::int64_t take_keys(int key_head, Range piece);
  void score(HeadRows& head, Range piece, std::int64_t key_groups);
  void add_up(BlockRow& row, Range piece, const float* products, std::int64_t stride) const;
  void keep(const BlockRow& row, std::int64_t index, ChosenRows& chosen) const;
  std::vector<double> masses_of(const BlockRow& row) const;

  const Estimator& estimator_;
  std::int64_t stride_, groups_of_block_, pieces_;
  double threshold_;
  float factor_;
  int dims_;                // of a group's vector
  RowMap tokens_, blocks_;  // that ranks estimate for
  std::vector<HeadRows> heads_;
  AlignedFloats panels_;
  std::vector<AlignedFloats> products_;  // by worker
};

Antidiagonals::Antidiagonals(const Estimator& estimator, const XAttention& choice)
    : estimator_(estimator),
      stride_(choice.stride),
      groups_of_block_(kBlock / choice.stride),
      pieces_((estimator.tokens() + kPiece - 1) / kPiece),
      threshold_(choice.threshold),
      factor_(static_cast<float>(estimator.problem.score_scale() / static_cast<double>(choice.stride))),
      dims_(static_cast<int>(choice.stride) * estimator.problem.head_dim),
      products_(static_cast<std::size_t>(estimator.team.size())) {
  tokens_ = zigzag_rows(estimator.tokens(), kBlock, estimator.transport.ranks());
  blocks_ = blocks_of(tokens_, kBlock);
}

std::vector<BlockRow> Antidiagonals::no_sums() const {
  std::vector<BlockRow> rows;
  for (const Range range : blocks_[static_cast<std::size_t>(estimator_.rank())]) {
    for (std::int64_t block = range.begin; block < range.end; ++block) {
      const std::int64_t left = estimator_.tokens() - block * kBlock;
      const std::int64_t groups = std::min(groups_of_block_, (left + stride_ - 1) / stride_);
      rows.push_back({.block = block, .groups = groups, .sums = {}, .maxima = {}});
      rows.back().sums.resize(static_cast<std::size_t>(groups * (block + 1)));
      rows.back().maxima.resize(static_cast<std::size_t>(groups * pieces_));
    }
  }
  return rows;
}

/// Row t of a group stands where row S - 1 - t would.
HeadRows Antidiagonals::take_queries(int head) const {
  const int dim = estimator_.problem.head_dim;
  const std::vector<float> rows = estimator_.fetch_queries(head, tokens_);
  HeadRows taken{.blocks = no_sums(), .queries = {}};
  taken.queries.resize(taken.blocks.size() * static_cast<std::size_t>(groups_of_block_ * dims_));
  std::int64_t before = 0;  // own rows of the blocks before
  for (std::size_t index = 0; index < taken.blocks.size(); ++index) {
    const std::int64_t count = std::min(kBlock, estimator_.tokens() - taken.blocks[index].block * kBlock);
    float* const block = taken.queries.data() + static_cast<std::int64_t>(index) * groups_of_block_ * dims_;
    for (std::int64_t token = 0; token < count; ++token) {
      const std::int64_t group = token / stride_, place = stride_ - 1 - token % stride_;
      std::copy_n(rows.data() + (before + token) * dim, dim, block + group * dims_ + place * dim);
    }
    before += count;
  }
  return taken;
}

std::int64_t Antidiagonals::take_keys(int key_head, Range piece) {
  RowMap wanted(tokens_.size());
  for (std::size_t rank = 0; rank < wanted.size(); ++rank) {
    if (!tokens_[rank].empty() && tokens_[rank].back().end > piece.begin) wanted[rank] = {piece};
  }
  std::vector<float> keys = estimator_.fetch_keys(key_head, wanted);
  const std::int64_t groups = (std::ssize(keys) + dims_ - 1) / dims_;
  keys.resize(static_cast<std::size_t>(groups * dims_));  // a short last group gets zeros
  pack_panels(estimator_, keys, dims_, panels_);
  return groups;
}

void Antidiagonals::score(HeadRows& head, Range piece, std::int64_t key_groups) {
  const std::int64_t first_group = piece.begin / stride_, stride = panels_of(key_groups) * kStrip;
  estimator_.each(std::ssize(head.blocks), [&](int task, int worker) {
    const std::int64_t index = std::ssize(head.blocks) - 1 - task;  // those with most keys first
    BlockRow& row = head.blocks[static_cast<std::size_t>(index)];
    if (row.block * kBlock < piece.begin) return;
    const std::int64_t seen = std::min(key_groups, (row.block + 1) * groups_of_block_ - first_group);
    float* const products = products_[static_cast<std::size_t>(worker)].resize(groups_of_block_ * stride);
    estimator_.kernels.products({.rows = static_cast<int>(row.groups),
                                 .dims = dims_,
                                 .panels = panels_of(seen),
                                 .queries = head.queries.data() + index * groups_of_block_ * dims_,
                                 .keys = panels_.data(),
                                 .products = products,
                                 .stride = stride});
    add_up(row, {first_group, first_group + key_groups}, products, stride);
  });
}

/// piece: its groups.
void Antidiagonals::add_up(BlockRow& row, Range piece, const float* products, std::int64_t stride) const {
  std::vector<float> logits;
  for (std::int64_t group = 0; group < row.groups; ++group) {
    const std::int64_t own = row.block * groups_of_block_ + group;  // the last that it sees
    const std::int64_t visible = std::min(piece.size(), own + 1 - piece.begin);
    const float* const product = products + group * stride;
    logits.resize(static_cast<std::size_t>(visible));
    float most = -std::numeric_limits<float>::infinity();
    for (std::int64_t key = 0; key < visible; ++key) {
      logits[key] = product[key] * factor_;
      most = std::max(most, logits[key]);
    }
    for (std::int64_t key = 0; key < visible; ++key) logits[key] = exp_of_fall(logits[key] - most);
    row.maxima[group * pieces_ + piece.begin * stride_ / kPiece] = most;
    float* const sums = row.sums.data() + group * (row.block + 1) + piece.begin / groups_of_block_;
    for (std::int64_t begin = 0; begin < visible; begin += groups_of_block_) {
      float sum = 0;
      for (std::int64_t key = begin; key < std::min(visible, begin + groups_of_block_); ++key) sum += logits[key];
      sums[begin / groups_of_block_] = sum;
    }
  }
}

/// Of the blocks up to a row's own.
std::vector<double> Antidiagonals::masses_of(const BlockRow& row) const {
  const std::int64_t blocks = row.block + 1, pieces = (blocks * kBlock + kPiece - 1) / kPiece;
  std::vector<double> masses(static_cast<std::size_t>(blocks)), falls(static_cast<std::size_t>(pieces));
  for (std::int64_t group = 0; group < row.groups; ++group) {
    const float* const maxima = row.maxima.data() + group * pieces_;
    const float* const sums = row.sums.data() + group * blocks;
    const float most = *std::max_element(maxima, maxima + pieces);
    double total = 0;
    for (std::int64_t piece = 0; piece < pieces; ++piece) falls[piece] = static_cast<double>(exp_of_fall(maxima[piece] - most));
    for (std::int64_t block = 0; block < blocks; ++block)
      total += falls[block * kBlock / kPiece] * static_cast<double>(sums[block]);
    for (std::int64_t block = 0; block < blocks; ++block)
      masses[block] += falls[block * kBlock / kPiece] * static_cast<double>(sums[block]) / total;
  }
  return masses;
}

void Antidiagonals::keep(const BlockRow& row, std::int64_t index, ChosenRows& chosen) const {
  const std::vector<double> masses = masses_of(row);
  const double wanted = threshold_ * std::accumulate(masses.begin(), masses.end(), 0.0);
  double kept = masses[0] + (row.block > 0 ? masses[row.block] : 0);
  chosen.choose(index, 0), chosen.choose(index, row.block);
  std::vector<std::int32_t> others(static_cast<std::size_t>(std::max<std::int64_t>(0, row.block - 1)));
  std::iota(others.begin(), others.end(), 1);
  std::stable_sort(others.begin(), others.end(), [&](std::int32_t a, std::int32_t b) { return masses[a] > masses[b]; });
  for (const std::int32_t block : others) {
    if (kept >= wanted) return;
    chosen.choose(index, block);
    kept += masses[block];
  }
}

void Antidiagonals::look(std::span<const int> heads) {
  heads_.clear();
  for (const int head : heads) heads_.push_back(take_queries(head));
  for (std::int64_t begin = 0; begin < estimator_.tokens(); begin += kPiece) {
    const Range piece{begin, std::min(estimator_.tokens(), begin + kPiece)};
    const std::int64_t key_groups = take_keys(estimator_.key_head_of(heads.front()), piece);
    for (HeadRows& head : heads_) score(head, piece, key_groups);
  }
}

void Antidiagonals::choose(std::size_t index, ChosenRows& chosen) const {
  const std::vector<BlockRow>& blocks = heads_[index].blocks;
  estimator_.each(std::ssize(blocks), [&](int block, int) { keep(blocks[static_cast<std::size_t>(block)], block, chosen); });
}

}  // namespace

BlockTable select_xattention(const Estimator& estimator, const XAttention& choice, std::span<const int> heads) {
  const std::int64_t blocks = (estimator.tokens() + kBlock - 1) / kBlock;
  BlockTable table(
      {.query_tokens = kBlock, .key_tokens = kBlock, .heads = estimator.problem.query_heads, .rows = blocks, .columns = blocks});
  Antidiagonals estimate(estimator, choice);
  ChosenRows chosen(table.shape(), estimate.blocks(), estimator.rank());
  while (!heads.empty()) {
    const auto same_keys = [&](int head) { return estimator.key_head_of(head) == estimator.key_head_of(heads.front()); };
    const auto count = static_cast<std::size_t>(std::ranges::find_if_not(heads, same_keys) - heads.begin());
    estimate.look(heads.first(count));
    for (std::size_t index = 0; index < count; ++index) {
      estimate.choose(index, chosen);
      chosen.show(estimator.transport, heads[index], table);
    }
    heads = heads.subspan(count);
  }
  return table;
}

}  // namespace gyre
