// Between fp32 and the 16-bit types that cells and tensors are stored in. Widening is exact. Narrowing rounds to the nearest, ties
// to even; what is beyond the largest finite number becomes infinite, what is below the least normal one denormal; NaN stays NaN,
// quiet, with the upper bits of its payload. Signs are kept, of zeros too. All of it assumes the default rounding mode and
// denormals on.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/tensor.hpp"

namespace gyre {

constexpr float to_float(float value) {
  return value;
}
constexpr float to_float(bf16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}
/// The bits of a half, moved to where a float has them, are the value times 2^-112.
constexpr float to_float(f16 value) {
  const std::uint32_t magnitude = std::uint32_t{value.bits & 0x7fffU} << 13;
  const std::uint32_t finite = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const std::uint32_t bits = magnitude >= 0x7c00U << 13 ? magnitude | 0x7f800000U : finite;
  return std::bit_cast<float>(bits | std::uint32_t{value.bits & 0x8000U} << 16);
}

constexpr bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffU + (bits >> 16 & 1U);
  const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return {static_cast<std::uint16_t>((nan ? bits | 0x400000U : rounded) >> 16)};
}
/// The spacing of floats at 0.5 is that of denormal halves, so adding 0.5 rounds those. Rounding up from 65520 carries into
/// infinity.
constexpr f16 to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  const std::uint32_t normal = (magnitude + 0xfffU + (magnitude >> 13 & 1U) - (112U << 23)) >> 13;
  const std::uint32_t denormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude < 0x38800000U ? magnitude : 0U) + 0.5F) -
      std::bit_cast<std::uint32_t>(0.5F);
  std::uint32_t half = magnitude < 0x38800000U ? denormal : normal;
  half = magnitude >= 0x47800000U ? 0x7c00U : half;
  half = magnitude > 0x7f800000U ? 0x7e00U | (magnitude >> 13 & 0x3ffU) : half;
  return {static_cast<std::uint16_t>(half | (bits >> 16 & 0x8000U))};
}

template <Stored Element>
constexpr Element from_float(float value) {
  if constexpr (kTypeOf<Element> == Type::f32) return value;
  if constexpr (kTypeOf<Element> == Type::bf16) return to_bf16(value);
  if constexpr (kTypeOf<Element> == Type::f16) return to_f16(value);
}

/// `count` elements; the two ranges do not overlap. From one 16-bit type to the other by way of fp32.
void convert(const void* from, Type from_type, void* to, Type to_type, std::int64_t count);

}  // namespace gyre
