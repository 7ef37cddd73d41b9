#include "runtime/io/file_elements.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

#include "kernels/convert.hpp"

namespace gyre {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little endian and are read as they are");

/// A float that rounds to a 16-bit number as the double itself would: where the double lies between two floats, the one with an odd
/// last bit, so that no tie comes of the first rounding.
float rounded_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::isnan(nearest) || nearest == value) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::abs(double{nearest}) > std::abs(value)) --bits;  // towards zero; from infinity to the largest
  return std::bit_cast<float>(bits | 1U);
}

template <class Element>
void narrow(const double* from, std::int64_t count, void* out) {
  const auto convert_one = [](double value) {
    return std::is_same_v<Element, float> ? from_float<Element>(static_cast<float>(value))
                                          : from_float<Element>(rounded_to_odd(value));
  };
  std::transform(from, from + count, static_cast<Element*>(out), convert_one);
}

void narrow(const double* from, std::int64_t count, Type to, void* out) {
  switch (to) {
    case Type::f32:
      return narrow<float>(from, count, out);
    case Type::bf16:
      return narrow<bf16>(from, count, out);
    case Type::f16:
      return narrow<f16>(from, count, out);
  }
}

template <class Element>
std::int64_t first_beyond(const float* from, std::int64_t count, const void* narrowed) {
  const auto* const elements = static_cast<const Element*>(narrowed);
  for (std::int64_t k = 0; k < count; ++k)
    if (std::isinf(to_float(elements[k])) && !std::isinf(from[k])) return k;
  return -1;
}

}  // namespace

std::optional<Type> row_type(FileType type) {
  switch (type) {
    case FileType::f16:
      return Type::f16;
    case FileType::bf16:
      return Type::bf16;
    case FileType::f32:
      return Type::f32;
    default:
      return std::nullopt;
  }
}

bool is_float(FileType type) {
  return type == FileType::f64 || row_type(type);
}

void read_elements(FileType type, const void* from, std::int64_t count, Type to, void* out) {
  if (!is_float(type)) throw std::logic_error("rows of elements that are no floating-point numbers");
  if (type == FileType::f64) return narrow(static_cast<const double*>(from), count, to, out);
  convert(from, *row_type(type), out, to, count);
}

std::int64_t write_elements(FileType type, const float* from, std::int64_t count, void* out) {
  if (!is_float(type)) throw std::logic_error("rows into elements that are no floating-point numbers");
  if (type == FileType::f64) {
    std::copy_n(from, count, static_cast<double*>(out));
    return -1;
  }
  convert(from, Type::f32, out, *row_type(type), count);
  if (type == FileType::f16) return first_beyond<f16>(from, count, out);
  if (type == FileType::bf16) return first_beyond<bf16>(from, count, out);
  return -1;
}

}  // namespace gyre
