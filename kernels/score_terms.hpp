// What a block's rows bring into their scores beside products, lane by lane.
#pragma once

#include <cstdint>

#include "kernels/dropout.hpp"
#include "kernels/lanes.hpp"
#include "kernels/score.hpp"

namespace gyre {

/// Of a block of rows against one unit of keys, as kernels read it. Lanes without a row have finite numbers, whatever they are.
///
/// With a slope the score of a row against key k of the unit is, in log2 units, fma(bias_slopes, |distances - k|, score). Distances
/// are of integers and exact below 2^24; above, they are rounded by the unit's first key, and so by units, and never by blocks or
/// tiles.
struct ScoreTerms {
  alignas(kAlignment) float bias_slopes[kMostLanes];    // minus the slope, times log2(e)
  alignas(kAlignment) float distances[kMostLanes];      // of the row's position from the unit's first key
  alignas(kAlignment) std::uint32_t first[kMostLanes];  // of the row's words for dropout
  alignas(kAlignment) std::uint32_t second[kMostLanes];

  /// What the rule wants of rows, and of the unit that they come to; the rest is left as it is.
  void take_rows(const ScoreRule& rule, const Lanes& lanes);
  void take_unit(const ScoreRule& rule, const Lanes& lanes, std::int64_t first_key);

  /// Shows them to a Tile or a GradientTile, which must not outlive them.
  template <class AnyTile>
  void show(const ScoreRule& rule, std::int64_t first_key, AnyTile& tile) const {
    if (!rule.slopes.empty()) tile.bias_slopes = bias_slopes, tile.distances = distances;
    if (rule.dropout) tile.dropout = dropout_of(*rule.dropout, first_key);
  }

 private:
  DropoutTerms dropout_of(const Dropout& dropout, std::int64_t first_key) const;
};

/// Throws std::invalid_argument unless the rule fits so many query heads, and its probability is one.
void require_rule(const ScoreRule& rule, std::int64_t query_heads);
/// Throws std::invalid_argument where terms count keys that do not lie as they come.
void require_order(const ScoreRule& rule, ResidueOrder order);

}  // namespace gyre
