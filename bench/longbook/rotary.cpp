#include "bench/longbook/rotary.hpp"

#include <cmath>

namespace gyre::longbook {

Rotary::Rotary(const LlamaShape& shape, std::span<const Range> rows) : head_dim_(shape.head_dim), pairs_(shape.rotary_dim / 2) {
  for (const Range& range : rows) {
    for (std::int64_t position = range.begin; position < range.end; ++position) {
      for (int pair = 0; pair < pairs_; ++pair) {
        const double angle = static_cast<double>(position) * std::pow(shape.rotary_base, -2.0 * pair / shape.rotary_dim);
        turns_.push_back(static_cast<float>(std::cos(angle)));
        turns_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }
}

void Rotary::turn(float* rows, int heads) const {
  for (std::size_t at = 0; at < turns_.size(); at += 2 * pairs_) {
    for (int head = 0; head < heads; ++head, rows += head_dim_) {
      for (int pair = 0; pair < pairs_; ++pair) {
        const float cosine = turns_[at + 2 * pair], sine = turns_[at + 2 * pair + 1];
        const float first = rows[2 * pair], second = rows[2 * pair + 1];
        rows[2 * pair] = first * cosine - second * sine;
        rows[2 * pair + 1] = first * sine + second * cosine;
      }
    }
  }
}

}  // namespace gyre::longbook
