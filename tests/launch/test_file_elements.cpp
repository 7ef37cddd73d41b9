// Conversions between the types of files and of rows, judged by exhaustive neighbours: what was chosen is the nearest, ties to
// even.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/convert.hpp"
#include "runtime/io/file_elements.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

/// The nearest number of a 16-bit type by comparing with all of them: magnitudes are ascending in their bits.
template <class Element>
std::uint16_t nearest_by_search(double value, std::uint16_t infinity) {
  const double magnitude = std::abs(value);
  const auto at = [](int bits) { return static_cast<double>(to_float(Element{static_cast<std::uint16_t>(bits)})); };
  int low = 0, high = infinity;  // at(low) <= magnitude < at(high)
  while (high - low > 1) (at((low + high) / 2) <= magnitude ? low : high) = (low + high) / 2;
  const double above = high == infinity ? 2 * at(low) - at(low - 1) : at(high);  // infinity is where the next number would be
  const double middle = at(low) + (above - at(low)) / 2;
  const bool up = magnitude > middle || (magnitude == middle && low % 2 != 0);
  return static_cast<std::uint16_t>((up ? high : low) | (std::signbit(value) ? 0x8000 : 0));
}

template <class Element>
std::uint16_t read_as(double value) {
  Element out;
  read_elements(FileType::f64, &value, 1, kTypeOf<Element>, &out);
  return out.bits;
}

template <class Element>
void check_rounding(std::uint16_t infinity) {
  std::mt19937_64 random(7);
  for (int draw = 0; draw < 200'000; ++draw) {
    const auto bits = static_cast<std::uint16_t>(random() % infinity);
    const double low = to_float(Element{bits});
    const double high = bits + 1 == infinity
                            ? 2 * low - static_cast<double>(to_float(Element{static_cast<std::uint16_t>(bits - 1)}))
                            : to_float(Element{static_cast<std::uint16_t>(bits + 1)});
    const double middle = (low + high) / 2;
    // A tie, and its nearest doubles on both sides, which a rounding by way of float32 would take for ties.
    for (const double value :
         {low, middle, std::nextafter(middle, 0.0), std::nextafter(middle, 1e300), -std::nextafter(middle, 1e300),
          low + (high - low) * 0x1p-53 * static_cast<double>(random() >> 11)}) {
      const std::uint16_t expected = nearest_by_search<Element>(value, infinity), got = read_as<Element>(value);
      if (got != expected) FAIL("of " << value << " came " << got << ", not " << expected);
    }
  }
}

}  // namespace

TEST_CASE("float64 becomes the nearest half or bfloat16 in one rounding, ties to even, near every tie") {
  check_rounding<f16>(0x7c00);
  check_rounding<bf16>(0x7f80);
}

TEST_CASE("what is beyond a type becomes infinite with its sign, what is far below it zero, and NaN stays NaN") {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double large : {1e300, infinity}) {
    CHECK(read_as<f16>(large) == 0x7c00);
    CHECK(read_as<f16>(-large) == 0xfc00);
    CHECK(read_as<bf16>(large) == 0x7f80);
    CHECK(read_as<bf16>(-large) == 0xff80);
  }
  CHECK(read_as<f16>(-1e-300) == 0x8000);
  CHECK(read_as<bf16>(5e-324) == 0);
  CHECK(std::isnan(to_float(f16{read_as<f16>(std::nan(""))})));
  CHECK(std::isnan(to_float(bf16{read_as<bf16>(std::nan(""))})));
}

TEST_CASE("the first finite value that a file's type has no number for is found, and infinities are not taken for one") {
  const float infinity = std::numeric_limits<float>::infinity();
  std::uint16_t out[4];
  double doubles[4];
  const float fine[] = {1, -infinity, 65519, std::nanf("")};
  CHECK(write_elements(FileType::f16, fine, 4, out) == -1);
  const float large[] = {1, infinity, -65520, 1e30f};
  CHECK(write_elements(FileType::f16, large, 4, out) == 2);
  CHECK(write_elements(FileType::bf16, large, 4, out) == -1);
  const float largest[] = {0, std::numeric_limits<float>::max()};
  CHECK(write_elements(FileType::bf16, largest, 2, out) == 1);
  CHECK(write_elements(FileType::f64, largest, 2, doubles) == -1);
  CHECK(doubles[1] == std::numeric_limits<float>::max());
}

TEST_CASE("every half and every bfloat16 comes back from rows of every type that can hold it") {
  std::vector<std::uint16_t> all(65536), back(65536), stored(65536);
  std::vector<float> rows(65536);
  for (std::size_t k = 0; k < all.size(); ++k) all[k] = static_cast<std::uint16_t>(k);
  for (const FileType type : {FileType::f16, FileType::bf16}) {
    const std::uint16_t infinity = type == FileType::f16 ? 0x7c00 : 0x7f80;
    read_elements(type, all.data(), 65536, Type::f32, rows.data());
    write_elements(type, rows.data(), 65536, stored.data());
    read_elements(type, all.data(), 65536, *row_type(type), back.data());
    CHECK(back == all);
    for (std::size_t k = 0; k < all.size(); ++k)
      if ((k & 0x7fff) <= infinity && stored[k] != all[k]) FAIL(k << " came back as " << stored[k]);
  }
}
