// Units: the atoms of a token axis.
//
// A unit is a run of consecutive tokens and the block over which a row of attention accumulates from zero. Everything
// larger (cells, placements, messages, programs) counts in units, so no length ever has to divide by anything.
//
//   Units({.tokens = 10, .unit_tokens = 4, .cuts = {3}})   ->   [0,3) [3,7) [7,10)
//
// Units restart at a cut (a document border, a stripe border), and the last one before a cut may be short.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace gyre {

/// Half-open range of positions, [begin, end). Positions are signed: a query may lie before the first key.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return std::max<std::int64_t>(0, end - begin); }
  bool empty() const { return end <= begin; }
  bool contains(std::int64_t position) const { return begin <= position && position < end; }
  bool contains(Range other) const { return other.empty() || (begin <= other.begin && other.end <= end); }
  Range operator&(Range other) const { return {std::max(begin, other.begin), std::min(end, other.end)}; }
  Range operator+(std::int64_t shift) const { return {begin + shift, end + shift}; }
  bool operator==(const Range&) const = default;
};

/// The quotient rounded down; divisor at least 1.
constexpr std::int64_t floor_divide(std::int64_t value, std::int64_t divisor) {
  return value / divisor - (value % divisor < 0);
}

/// The units of one token axis. Immutable; queries and keys have a table each.
class Units {
 public:
  Units() = default;

  /// Cuts [0, tokens) every `unit_tokens`, restarting at each of `cuts` (any order, those outside (0, tokens) are ignored).
  /// Throws std::invalid_argument if tokens < 0 or unit_tokens < 1.
  Units(std::int64_t tokens, std::int64_t unit_tokens, std::span<const std::int64_t> cuts = {});

  std::int64_t tokens() const { return borders_.back(); }
  std::int64_t unit_tokens() const { return unit_tokens_; }  // the nominal length: no unit is longer
  int count() const { return static_cast<int>(borders_.size()) - 1; }
  Range range(int unit) const { return {borders_[unit], borders_[unit + 1]}; }
  std::int64_t length(int unit) const { return borders_[unit + 1] - borders_[unit]; }
  int unit_of(std::int64_t token) const;     // 0 <= token < tokens
  Range units_touching(Range tokens) const;  // unit indices that share a token with the range
  std::int64_t longest() const;              // tokens of the longest unit; 0 without units

 private:
  std::vector<std::int64_t> borders_{0};
  std::int64_t unit_tokens_ = 1;
};

/// The design's rule: tokens / 16 rounded down to a power of two, within [64, 512], then halved while it exceeds both 64 and a
/// quarter of a rank's share. What wishes for longer ones gets them, doubled from 512 up to `wished`, while a rank has 16 of them.
std::int64_t default_unit_tokens(std::int64_t tokens, int ranks, std::int64_t wished = 0);

}  // namespace gyre
