#include "bench/trainer/rotary.hpp"

#include <cmath>

namespace gyre::trainer {

template <class Real>
Rotary<Real>::Rotary(std::span<const std::int64_t> positions, int head_dim, double base) : head_dim_(head_dim) {
  const int pairs = head_dim / 2;
  cosines_.reserve(positions.size() * pairs);
  sines_.reserve(positions.size() * pairs);
  for (const std::int64_t position : positions) {
    for (int pair = 0; pair < pairs; ++pair) {
      const double angle = static_cast<double>(position) * std::pow(base, -2.0 * pair / head_dim);
      cosines_.push_back(static_cast<Real>(std::cos(angle)));
      sines_.push_back(static_cast<Real>(std::sin(angle)));
    }
  }
}

template <class Real>
void Rotary<Real>::turn(Real* rows, int heads, Turn direction) const {
  const int pairs = head_dim_ / 2;
  const Real sign = direction == Turn::forward ? 1 : -1;
  for (std::size_t angles = 0; angles < cosines_.size(); angles += pairs) {
    for (int head = 0; head < heads; ++head, rows += head_dim_) {
      for (int pair = 0; pair < pairs; ++pair) {
        const Real cosine = cosines_[angles + pair], sine = sign * sines_[angles + pair];
        const Real first = rows[pair], second = rows[pair + pairs];
        rows[pair] = first * cosine - second * sine;
        rows[pair + pairs] = first * sine + second * cosine;
      }
    }
  }
}

template class Rotary<float>;
template class Rotary<double>;

}  // namespace gyre::trainer
