// A result comes into a partial: as attend-inl.hpp folds a unit's sums in, which have the same form.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/merge-inl.hpp"

namespace gyre {
namespace {

/// Whole strips. value_dim: rounded up to kChannels.
template <class V>
void combine_strips(std::int64_t strips, int value_dim, const float* result, float* partial) {
  constexpr int kVectors = kStrip / V::kLanes;
  for (; strips > 0; --strips) {
    float* const maximum = partial + value_dim * kNumeratorStride;
    const float* const other = result + value_dim * kStrip;
    Merge<V> merge[kVectors];
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
      merge[v] = merge_sums<V>(maximum + v * V::kLanes, V::load(other + v * V::kLanes), V::load(other + kStrip + v * V::kLanes));
    }
    for (int channel = 0; channel < value_dim; ++channel) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
        float* const numerator = partial + channel * kNumeratorStride + v * V::kLanes;
        fold<V>(numerator, numerator + kStrip, merge[v], V::load(result + channel * kStrip + v * V::kLanes));
      }
    }
    result = other + 2 * kStrip, partial = maximum + 3 * kStrip;
  }
}

}  // namespace
}  // namespace gyre
