#include "runtime/mechanism/native_pooling.hpp"

#include <algorithm>

namespace gyre {
namespace {

constexpr std::int64_t kRows = 64;  // of a task

/// Ascending by their beginnings; those that meet or overlap become one.
std::vector<Range> joined(std::span<const Range> ranges) {
  std::vector<Range> all;
  for (const Range range : ranges) {
    if (range.empty()) continue;
    if (!all.empty() && range.begin <= all.back().end) {
      all.back().end = std::max(all.back().end, range.end);
    } else {
      all.push_back(range);
    }
  }
  return all;
}

/// Where ascending indices, which lie in these ranges, stand among all that do.
std::vector<std::int64_t> places_of(std::span<const std::int64_t> indices, std::span<const Range> ranges) {
  std::vector<std::int64_t> places;
  places.reserve(indices.size());
  std::int64_t before = 0;
  auto range = ranges.begin();
  for (const std::int64_t index : indices) {
    for (; range->end <= index; ++range) before += range->size();
    places.push_back(before + index - range->begin);
  }
  return places;
}

/// to += from
void add(const float* from, std::int64_t count, float* to) {
  for (std::int64_t at = 0; at < count; ++at) to[at] += from[at];
}

}  // namespace

Range PooledBlocks::blocks_with(Range tokens) const {
  if (tokens.empty()) return {};
  return {std::max<std::int64_t>(0, floor_divide(tokens.begin - block_, stride_) + 1),
          std::min(count(), (tokens.end - 1) / stride_ + 1)};
}

RowMap PooledBlocks::held(const RowMap& tokens) const {
  RowMap blocks;
  for (const auto& ranges : tokens) {
    std::vector<Range> own;
    own.reserve(ranges.size());
    for (const Range range : ranges)
      own.push_back({(range.begin + stride_ - 1) / stride_, std::min(count(), (range.end + stride_ - 1) / stride_)});
    blocks.push_back(joined(own));
  }
  return blocks;
}

Mask PooledBlocks::staircase() const {
  std::vector<Slice> steps;
  for (std::int64_t block = 0; block < count(); ++block) {
    const std::int64_t first = block * stride_ + block_ - 1;
    steps.push_back({.queries = {first, std::min(tokens_, first + stride_)}, .keys = {0, block + 1}});
  }
  return Mask::slices(steps, "blocks of " + std::to_string(block_) + " every " + std::to_string(stride_));
}

std::vector<float> PooledBlocks::means(const Estimator& estimator, const RowsOnRanks& rows) const {
  const RowMap blocks = held(rows.held);
  RowMap tokens;
  for (const auto& ranges : blocks) {
    std::vector<Range> wanted;
    wanted.reserve(ranges.size());
    for (const Range range : ranges) wanted.push_back({range.begin * stride_, (range.end - 1) * stride_ + block_});
    tokens.push_back(joined(wanted));
  }
  const auto rank = static_cast<std::size_t>(estimator.rank());
  const std::vector<float> from = fetch_rows(estimator.transport, rows, {0, rows.rows.heads}, estimator.problem.type, tokens);
  std::vector<std::int64_t> firsts = listed(blocks[rank]);
  for (std::int64_t& block : firsts) block *= stride_;
  firsts = places_of(firsts, tokens[rank]);
  const std::int64_t width = std::int64_t{rows.rows.heads} * rows.rows.dim;
  std::vector<float> means(firsts.size() * static_cast<std::size_t>(width));
  estimator.each(std::ssize(firsts), [&](int index, int) {
    float* const mean = means.data() + index * width;
    const float* const first = from.data() + firsts[static_cast<std::size_t>(index)] * width;
    for (std::int64_t row = 0; row < block_; ++row) add(first + row * width, width, mean);
    for (std::int64_t at = 0; at < width; ++at) mean[at] /= static_cast<float>(block_);
  });
  return means;
}

void PooledBlocks::add_gradients(const Estimator& estimator, const RowsOnRanks& gradients, const RowMap& tokens,
                                 std::vector<float>& sum) const {
  RowMap blocks;
  for (const auto& ranges : tokens) {
    std::vector<Range> wanted;
    wanted.reserve(ranges.size());
    for (const Range range : ranges) wanted.push_back(blocks_with(range));
    blocks.push_back(joined(wanted));
  }
  const auto rank = static_cast<std::size_t>(estimator.rank());
  const std::vector<float> from = fetch_rows(estimator.transport, gradients, {0, gradients.rows.heads}, Type::f32, blocks);
  const std::int64_t width = std::int64_t{gradients.rows.heads} * gradients.rows.dim;
  const std::vector<std::int64_t> own = listed(tokens[rank]);
  estimator.each((std::ssize(own) + kRows - 1) / kRows, [&](int task, int) {
    for (std::int64_t row = task * kRows; row < std::min(std::ssize(own), (task + 1) * kRows); ++row) {
      const Range with = blocks_with({own[static_cast<std::size_t>(row)], own[static_cast<std::size_t>(row)] + 1});
      if (with.empty()) continue;
      const std::int64_t first = places_of(std::span(&with.begin, 1), blocks[rank])[0];
      for (std::int64_t at = 0; at < width; ++at) {
        float shares = 0;
        for (std::int64_t block = 0; block < with.size(); ++block)
          shares += from[static_cast<std::size_t>((first + block) * width + at)];
        sum[static_cast<std::size_t>(row * width + at)] += shares / static_cast<float>(block_);
      }
    }
  });
}

}  // namespace gyre
