// From the type that cells are stored in to the fp32 that the body of attend reads, for every instruction set.
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/tensor.hpp"

namespace gyre {
namespace {

template <class V>
GYRE_INLINE void expand_f32(const float* from, std::int64_t count, float factor, float* to) {
  const auto factors = V::set1(factor);
  for (std::int64_t i = 0; i < count; i += V::kLanes) V::store(to + i, V::mul(V::load(from + i), factors));
}

template <class V>
GYRE_INLINE void expand_f16(const std::uint16_t* from, std::int64_t count, float factor, float* to) {
  const auto factors = V::set1(factor);
  for (std::int64_t i = 0; i < count; i += V::kLanes) V::store(to + i, V::mul(V::widen_f16(from + i), factors));
}

/// A row of `width` words becomes two rows of elements.
template <class V>
GYRE_INLINE void expand_pairs(const float* words, std::int64_t count, int width, float factor, float* to) {
  const auto factors = V::set1(factor);
  for (std::int64_t row = 0; row < count; row += 2 * width, words += width) {
    for (int i = 0; i < width; i += V::kLanes) {
      const auto pairs = V::load(words + i);
      V::store(to + row + i, V::mul(V::low_half(pairs), factors));
      V::store(to + row + width + i, V::mul(V::high_half(pairs), factors));
    }
  }
}

/// V has at most 8 lanes, the least width.
template <class V>
void expand(Type type, int width, const void* from, std::int64_t count, float factor, float* to) {
  if (type == Type::f32) expand_f32<V>(static_cast<const float*>(from), count, factor, to);
  if (type == Type::f16) expand_f16<V>(static_cast<const std::uint16_t*>(from), count, factor, to);
  if (type == Type::bf16) expand_pairs<V>(static_cast<const float*>(from), count, width, factor, to);
}

}  // namespace
}  // namespace gyre
