// What a unit's keys and values want fetched, in the order in which the kernels for few rows go through them.
#pragma once

#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/cpu/vec.hpp"

namespace gyre {
namespace {

/// How a unit is gone through: keys from end to end, then values, some blocks of channels side by side, piece by piece.
struct FetchOrder {
  const float* key;
  std::int64_t key_floats;
  const float* value;
  const float* next;   // of the next unit
  std::int64_t block;  // floats of a block of channels
  std::int64_t piece;  // of a block, before the next of its neighbours is gone on with
  int blocks;
  int side_by_side;
};

/// A place some way ahead of what is being read.
class Ahead {
 public:
  explicit Ahead(const FetchOrder& order) : order_(order), at_(order.key), end_(order.key + order.key_floats) {}

  /// As many lines as are being read, to be fetched with fetch(). They may run on behind what lies in one piece; what is then left
  /// out or fetched twice is little.
  GYRE_INLINE_MEMBER const float* take(int lines) {
    if (at_ >= end_) go_on();
    const float* const from = at_;
    at_ += lines * kLine;
    return from;
  }
  /// Into the second cache level: the first has too few lines under way to hide memory's latency (11 GB/s a thread on Zen 4 instead
  /// of 20), and brings lines nearer in time by itself.
  GYRE_INLINE void fetch(const float* taken, int line) {
    constexpr int kSecondLevel = 2;
    __builtin_prefetch(taken + line * kLine, 0, kSecondLevel);
  }
  void skip(std::int64_t floats) {
    for (; end_ - at_ <= floats; go_on()) floats -= end_ - at_;
    at_ += floats;
  }

 private:
  static constexpr int kLine = kAlignment / sizeof(float);

  [[gnu::noinline]] void go_on() {
    if (first_ >= order_.blocks) {
      at_ = order_.next, end_ = at_ + order_.key_floats;  // no unit is so short that more than its keys is fetched
      return;
    }
    const int left = order_.blocks - first_, together = left < order_.side_by_side ? left : order_.side_by_side;
    at_ = order_.value + (first_ + block_) * order_.block + piece_;
    end_ = at_ + (order_.block - piece_ < order_.piece ? order_.block - piece_ : order_.piece);
    if (++block_ < together) return;
    block_ = 0, piece_ += order_.piece;
    if (piece_ < order_.block) return;
    piece_ = 0, first_ += together;
  }

  const FetchOrder& order_;
  const float* at_;
  const float* end_;
  int first_ = 0, block_ = 0;  // of the blocks that are side by side
  std::int64_t piece_ = 0;
};

}  // namespace
}  // namespace gyre
