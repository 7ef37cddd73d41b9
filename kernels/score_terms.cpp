#include "kernels/score_terms.hpp"

#include <algorithm>
#include <numbers>
#include <stdexcept>
#include <string>

namespace gyre {

void ScoreTerms::take_slopes(const ScoreRule& rule, const Lanes& lanes) {
  for (int lane = 0; lane < lanes.count; ++lane) {
    bias_slopes[lane] = static_cast<float>(-std::numbers::log2e * rule.slopes[static_cast<std::size_t>(lanes.heads[lane])]);
  }
  std::fill(bias_slopes + lanes.count, std::end(bias_slopes), 0.0F);
}

void ScoreTerms::take_distances(const Lanes& lanes, std::int64_t first_key) {
  for (int lane = 0; lane < lanes.count; ++lane) {
    const std::int64_t position = lanes.positions[lane];
    distances[lane] = position == kNoPosition ? 0.0F : static_cast<float>(position - first_key);
  }
  std::fill(distances + lanes.count, std::end(distances), 0.0F);
}

void require_rule(const ScoreRule& rule, std::int64_t query_heads) {
  if (!rule.slopes.empty() && std::ssize(rule.slopes) != query_heads) {
    throw std::invalid_argument(std::to_string(rule.slopes.size()) + " slopes for " + std::to_string(query_heads) +
                                " query heads: give one for each, or none");
  }
}

}  // namespace gyre
