#include "kernels/products.hpp"

#include <algorithm>
#include <cstdint>

namespace gyre {

float* AlignedFloats::resize(std::int64_t count) {
  constexpr std::size_t kFloats = kAlignment / sizeof(float);
  const std::size_t wanted = static_cast<std::size_t>(count) + kFloats;
  if (storage_.size() < wanted) {
    storage_.assign(wanted, 0.0F);
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    first_ = storage_.data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(float);
  }
  return first_;
}

void pack_panel(const float* keys, std::int64_t stride, int count, int dims, float* panel) {
  // A few dims of all keys at a time: the lines that are read and those that are written both stay near.
  constexpr int kDims = 16;
  for (int begin = 0; begin < dims; begin += kDims) {
    const int end = std::min(dims, begin + kDims);
    for (int lane = 0; lane < kStrip; ++lane) {
      const float* const key = keys + lane * stride;
      for (int dim = begin; dim < end; ++dim) panel[dim * kStrip + lane] = lane < count ? key[dim] : 0.0F;
    }
  }
}

}  // namespace gyre
