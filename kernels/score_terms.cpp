#include "kernels/score_terms.hpp"

#include <numbers>
#include <stdexcept>
#include <string>

namespace gyre {

void ScoreTerms::take_rows(const ScoreRule& rule, const Lanes& lanes) {
  for (int lane = 0; lane < kMostLanes; ++lane) {
    const bool there = lane < lanes.count && lanes.positions[lane] != kNoPosition;
    bias_slopes[lane] = 0, first[lane] = second[lane] = 0;
    if (there && !rule.slopes.empty()) {
      bias_slopes[lane] = static_cast<float>(-std::numbers::log2e * rule.slopes[static_cast<std::size_t>(lanes.heads[lane])]);
    }
    if (there && rule.dropout) {
      const DropoutRow row = dropout_row(rule.dropout->seed, lanes.positions[lane], lanes.heads[lane]);
      first[lane] = row.first, second[lane] = row.second;
    }
  }
}

void ScoreTerms::take_unit(const ScoreRule& rule, const Lanes& lanes, std::int64_t first_key) {
  for (int lane = 0; !rule.slopes.empty() && lane < kMostLanes; ++lane) {
    const bool there = lane < lanes.count && lanes.positions[lane] != kNoPosition;
    distances[lane] = there ? static_cast<float>(lanes.positions[lane] - first_key) : 0.0F;
  }
}

DropoutTerms ScoreTerms::dropout_of(const Dropout& dropout, std::int64_t first_key) const {
  return {.first = first,
          .second = second,
          .key = static_cast<std::uint32_t>(first_key) * kKeyStep,
          .threshold = dropout_threshold(dropout.probability),
          .kept = static_cast<float>(1 / (1 - dropout.probability))};
}

void require_rule(const ScoreRule& rule, std::int64_t query_heads) {
  if (!rule.slopes.empty() && std::ssize(rule.slopes) != query_heads) {
    throw std::invalid_argument(std::to_string(rule.slopes.size()) + " slopes for " + std::to_string(query_heads) +
                                " query heads: give one for each, or none");
  }
  if (rule.dropout && !(rule.dropout->probability >= 0 && rule.dropout->probability < 1)) {
    throw std::invalid_argument("a dropout probability of " + std::to_string(rule.dropout->probability) +
                                ": give 0 or more, and less than 1");
  }
}

void require_order(const ScoreRule& rule, ResidueOrder order) {
  if (order.stride > 1 && (!rule.slopes.empty() || rule.dropout)) {
    throw std::invalid_argument("slopes or dropout with keys in residue order of stride " + std::to_string(order.stride) +
                                ": they count keys as tokens come, give stride 1");
  }
}

}  // namespace gyre
