#include "kernels/few_rows.hpp"

#include <algorithm>

namespace gyre {
namespace {

/// Calls copy(float of the partial, float of the total) for every pair that stands for the same number.
template <class Partial, class Total, class Copy>
void each_float(Partial* partial, Total* total, int rows, int value_dim, Copy&& copy) {
  const int stride = few_stride(value_dim);
  for (int part = 0; part < 2; ++part) {
    for (int channel = 0; channel < value_dim; ++channel) {
      for (int row = 0; row < rows; ++row) {
        copy(partial[channel * kNumeratorStride + part * kStrip + row],
             total[kFewStatistics + (2 * row + part) * stride + channel]);
      }
    }
  }
  for (int statistic = 0; statistic < 3; ++statistic) {
    for (int row = 0; row < rows; ++row) {
      copy(partial[(2 * value_dim + statistic) * kStrip + row], total[statistic * kStrip + row]);
    }
  }
}

}  // namespace

void take_few(const float* partial, int rows, int value_dim, float* total) {
  const int stride = few_stride(value_dim);
  std::fill_n(total, kFewStatistics, 0.0F);
  std::fill_n(total + kFewStatistics, std::ptrdiff_t{2} * rows * stride, 0.0F);
  each_float(partial, total, rows, value_dim, [](const float& from, float& to) { to = from; });
}

void give_few(const float* total, int rows, int value_dim, float* partial) {
  each_float(partial, total, rows, value_dim, [](float& to, const float& from) { to = from; });
}

}  // namespace gyre
