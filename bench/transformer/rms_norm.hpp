// Root mean square normalisation (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * gain, row by row.
#pragma once

#include <cstdint>

namespace gyre::transformer {

struct NormShape {
  std::int64_t rows = 0;
  int width = 0;
  double epsilon = 0;
};

/// x, y: [rows, width]; gain: [width].
template <class Real>
void rms_norm(const NormShape& shape, const Real* x, const Real* gain, Real* y);

/// With r = 1 / sqrt(mean(x^2) + epsilon) and u = gain grad_y: grad_x += r u - r^3 / width (u . x) x; grad_gain += sum over rows of
/// r x grad_y.
template <class Real>
void rms_norm_backward(const NormShape& shape, const Real* x, const Real* gain, const Real* grad_y, Real* grad_x, Real* grad_gain);

}  // namespace gyre::transformer
