// Between fp32 and 16 bits, judged by arithmetic in float64 that shares nothing with the conversions.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/convert.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// How a 16-bit format spells numbers.
struct Format {
  int fraction_bits;
  int bias;
  int special;  // exponent field of infinities and NaN
};
constexpr Format kBf16{7, 127, 255}, kF16{10, 15, 31};

double value_of(std::uint16_t bits, const Format& format) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = (bits & 0x7fff) >> format.fraction_bits;
  const int fraction = bits & ((1 << format.fraction_bits) - 1);
  if (exponent == format.special)
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - format.bias - format.fraction_bits);
  return sign * std::ldexp((1 << format.fraction_bits) + fraction, exponent - format.bias - format.fraction_bits);
}

/// The nearest number of the format in float64: scaled so that its spacing is 1, rounded to even by nearbyint.
double nearest(double value, const Format& format) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), 1 - format.bias);
  const double rounded =
      std::ldexp(std::nearbyint(std::ldexp(value, format.fraction_bits - exponent)), exponent - format.fraction_bits);
  const double largest = value_of(static_cast<std::uint16_t>((format.special << format.fraction_bits) - 1), format);
  return std::abs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), value) : rounded;
}

template <class Element>
const Format& format_of() {
  return kTypeOf<Element> == Type::bf16 ? kBf16 : kF16;
}

template <class Element>
bool rounds_rightly(float value) {
  const std::uint16_t bits = from_float<Element>(value).bits;
  const double found = value_of(bits, format_of<Element>());
  if (std::isnan(value)) return std::isnan(found) && ((bits & 0x8000) != 0) == std::signbit(value);
  return found == nearest(double{value}, format_of<Element>()) && ((bits & 0x8000) != 0) == std::signbit(value);
}

template <class Element>
void check_every_value() {
  std::vector<std::uint32_t> wrong;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Element element{static_cast<std::uint16_t>(bits)};
    const double expected = value_of(element.bits, format_of<Element>());
    const float found = to_float(element);
    const bool same = std::isnan(expected) ? std::isnan(found) : double{found} == expected;
    const std::uint16_t quiet =
        std::isnan(expected) ? static_cast<std::uint16_t>(1U << (format_of<Element>().fraction_bits - 1)) : 0;
    const bool back = from_float<Element>(found).bits == (element.bits | quiet);
    if (!same || std::signbit(found) != ((bits & 0x8000) != 0) || !back) wrong.push_back(bits);
  }
  CHECK(wrong == std::vector<std::uint32_t>{});
}

/// Around every number of the format: itself, the middle to the next one (a tie), and the floats on both sides of those.
template <class Element>
void check_every_tie() {
  std::vector<float> wrong;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float here = to_float(Element{static_cast<std::uint16_t>(bits)});
    const float next = to_float(Element{static_cast<std::uint16_t>(bits + 1)});
    if (std::isnan(here) || std::isnan(next)) continue;
    const double beyond = value_of(static_cast<std::uint16_t>(bits - 1), format_of<Element>());  // below infinity the steps go on
    const double step = std::isinf(next) ? double{here} - beyond : double{next} - double{here};
    const auto middle = static_cast<float>(double{here} + step / 2);
    for (const float at : {here, middle}) {
      for (const float value : {at, std::nextafterf(at, -INFINITY), std::nextafterf(at, INFINITY)}) {
        if (!rounds_rightly<Element>(value)) wrong.push_back(value);
      }
    }
  }
  CHECK(wrong == std::vector<float>{});
}

}  // namespace

TEST_CASE("every 16-bit number widens to its value and narrows to itself, NaN to a quiet NaN") {
  check_every_value<bf16>();
  check_every_value<f16>();
}

TEST_CASE("floats around every 16-bit number round to the nearest, ties to even, and to infinity beyond the largest") {
  check_every_tie<bf16>();
  check_every_tie<f16>();
  CHECK(to_f16(65504).bits == 0x7bff);
  CHECK(to_f16(std::nextafterf(65520, 0)).bits == 0x7bff);
  CHECK(to_f16(65520).bits == 0x7c00);
  CHECK(to_f16(-1e30F).bits == 0xfc00);
  CHECK(to_bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(to_f16(0x1p-25F).bits == 0);  // half of the least denormal: a tie, and 0 is even
  CHECK(to_f16(std::nextafterf(0x1p-25F, 1)).bits == 1);
}

TEST_CASE("floats of any bits round to the nearest") {
  std::mt19937 random(1);
  std::vector<float> wrong;
  for (int round = 0; round < 2'000'000; ++round) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!rounds_rightly<bf16>(value) || !rounds_rightly<f16>(value)) wrong.push_back(value);
  }
  CHECK(wrong == std::vector<float>{});
}

TEST_CASE("ranges of any length convert between all types as single values do, and no further") {
  constexpr Type kTypes[] = {Type::f32, Type::bf16, Type::f16};
  for (const Type from : kTypes) {
    for (const Type to : kTypes) {
      for (const int count : {0, 1, 7, 8, 33}) {
        std::vector<float> values(count), found(count);
        for (int i = 0; i < count; ++i) values[i] = 0.37F * static_cast<float>(i) - 3;
        std::vector<std::byte> stored(count * 4 + 1), target(count * 4 + 1);
        convert(values.data(), Type::f32, stored.data(), from, count);
        target[count * type_bytes(to)] = std::byte{0x5a};
        convert(stored.data(), from, target.data(), to, count);
        CHECK(target[count * type_bytes(to)] == std::byte{0x5a});
        convert(target.data(), to, found.data(), Type::f32, count);
        const auto round = [](float value, Type type) {
          return type == Type::f32 ? value : type == Type::bf16 ? to_float(to_bf16(value)) : to_float(to_f16(value));
        };
        for (float& value : values) value = round(round(value, from), to);
        CHECK(found == values);
      }
    }
  }
}

TEST_CASE("typed rows see what the rows that they are made from see") {
  std::vector<bf16> data(100);
  for (int i = 0; i < 100; ++i) data[i] = to_bf16(static_cast<float>(i));
  Rows<bf16> rows(data.data(), 5, 2, 3);
  rows.token_stride = 20, rows.head_stride = 7;
  const TypedOutRows out = rows;
  const TypedRows typed = out;
  CHECK(typed.type == Type::bf16);
  CHECK(to_float(*reinterpret_cast<const bf16*>(typed.row(3, 1))) == 67);
  const TypedRows dense{data.data(), 5, 2, 3};
  CHECK(static_cast<const void*>(dense.row(1, 1)) == data.data() + 9);
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) CHECK(parse_type(to_string(type)) == type);
  CHECK_THROWS_WITH(parse_type("fp8"), Catch::Contains("fp8") && Catch::Contains("bf16"));
}

}  // namespace gyre::testing
