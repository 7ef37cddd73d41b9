// From the type that cells are stored in to the fp32 that the body of attend reads, for every instruction set.
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/tensor.hpp"

namespace gyre {
namespace {

template <class V, Type From>
GYRE_INLINE typename V::Vector widen(const void* from, std::int64_t index) {
  if constexpr (From == Type::f32) return V::load(static_cast<const float*>(from) + index);
  const std::uint16_t* const halves = static_cast<const std::uint16_t*>(from) + index;
  if constexpr (From == Type::bf16) return V::widen_bf16(halves);
  if constexpr (From == Type::f16) return V::widen_f16(halves);
}

template <class V, Type From>
GYRE_INLINE void expand_from(const void* from, std::int64_t count, float factor, float* to) {
  const auto factors = V::set1(factor);
  for (std::int64_t i = 0; i < count; i += V::kLanes) V::store(to + i, V::mul(widen<V, From>(from, i), factors));
}

template <class V>
void expand(Type type, const void* from, std::int64_t count, float factor, float* to) {
  if (type == Type::f32) expand_from<V, Type::f32>(from, count, factor, to);
  if (type == Type::bf16) expand_from<V, Type::bf16>(from, count, factor, to);
  if (type == Type::f16) expand_from<V, Type::f16>(from, count, factor, to);
}

}  // namespace
}  // namespace gyre
