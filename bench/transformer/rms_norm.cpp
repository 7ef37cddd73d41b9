#include "bench/transformer/rms_norm.hpp"

#include <cmath>
#include <vector>

namespace gyre::transformer {
namespace {

template <class Real>
double dot(const Real* a, const Real* b, int size) {
  double sum = 0;
  for (int channel = 0; channel < size; ++channel) sum += static_cast<double>(a[channel]) * b[channel];
  return sum;
}

template <class Real>
double inverse_root_mean_square(const NormShape& shape, const Real* x) {
  return 1 / std::sqrt(dot(x, x, shape.width) / shape.width + shape.epsilon);
}

}  // namespace

template <class Real>
void rms_norm(const NormShape& shape, const Real* x, const Real* gain, Real* y) {
  for (std::int64_t row = 0; row < shape.rows; ++row, x += shape.width, y += shape.width) {
    const Real inverse = static_cast<Real>(inverse_root_mean_square(shape, x));
    for (int channel = 0; channel < shape.width; ++channel) y[channel] = x[channel] * inverse * gain[channel];
  }
}

template <class Real>
void rms_norm_backward(const NormShape& shape, const Real* x, const Real* gain, const Real* grad_y, Real* grad_x, Real* grad_gain) {
  std::vector<double> gain_sums(shape.width);  // over all rows: in fp32 they would depend on how rows are shared out
  std::vector<Real> scaled(shape.width);
  for (std::int64_t row = 0; row < shape.rows; ++row, x += shape.width, grad_y += shape.width, grad_x += shape.width) {
    const double inverse = inverse_root_mean_square(shape, x);
    for (int channel = 0; channel < shape.width; ++channel) {
      scaled[channel] = gain[channel] * grad_y[channel];
      gain_sums[channel] += inverse * x[channel] * grad_y[channel];
    }
    const Real along = static_cast<Real>(inverse * inverse * inverse / shape.width * dot(scaled.data(), x, shape.width));
    for (int channel = 0; channel < shape.width; ++channel)
      grad_x[channel] += static_cast<Real>(inverse) * scaled[channel] - along * x[channel];
  }
  for (int channel = 0; channel < shape.width; ++channel) grad_gain[channel] += static_cast<Real>(gain_sums[channel]);
}

template void rms_norm(const NormShape&, const float*, const float*, float*);
template void rms_norm(const NormShape&, const double*, const double*, double*);
template void rms_norm_backward(const NormShape&, const float*, const float*, const float*, float*, float*);
template void rms_norm_backward(const NormShape&, const double*, const double*, const double*, double*, double*);

}  // namespace gyre::transformer
