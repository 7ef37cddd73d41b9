// Blocks as their definition writes them, number by number.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "bench/longbook/block_format.hpp"
#include "gguf_writer.hpp"
#include "kernels/convert.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace gyre::longbook;

namespace {

std::string half(float value) {
  return stored(to_f16(value).bits);
}

/// From one byte beyond an aligned address: tensors lie anywhere in what was read.
std::vector<float> expanded(std::uint32_t id, const std::string& blocks) {
  const BlockFormat& format = *find_block_format(id);
  REQUIRE(blocks.size() % format.bytes == 0);
  const std::string moved = "x" + blocks;
  const auto count = static_cast<std::int64_t>(blocks.size()) / format.bytes;
  std::vector<float> values(count * format.elements);
  format.expand(reinterpret_cast<const std::byte*>(moved.data()) + 1, count, values.data());
  return values;
}

/// Different in every place: 0 to `most`.
int quant(int element, int most) {
  return (element * 7 + element / 16) % (most + 1);
}

/// Low four bits of 32 elements, k and k + 16 in a byte.
std::string nibbles(int most) {
  std::string bytes;
  for (int k = 0; k < 16; ++k) bytes += static_cast<char>((quant(k, most) & 15) | (quant(k + 16, most) & 15) << 4);
  return bytes;
}

std::string fifth_bits() {
  std::uint32_t bits = 0;
  for (int k = 0; k < 32; ++k) bits |= static_cast<std::uint32_t>(quant(k, 31) >> 4) << k;
  return stored(bits);
}

void check_linear(const std::vector<float>& values, float scale, float shift, int most) {
  for (int element = 0; element < std::ssize(values); ++element)
    CHECK(values[element] == scale * static_cast<float>(quant(element % 32, most)) + shift);
}

int scale_of(int run) {
  return (run * 11 + 3) % 64;
}
int least_of(int run) {
  return (run * 23 + 40) % 64;
}

int scale_of_16(int part) {
  return part * 9 - 70;
}

/// The twelve bytes of eight scales and minima of six bits.
std::string packed_scales() {
  std::array<int, 12> bytes{};
  for (int run = 0; run < 4; ++run) {
    bytes[run] = scale_of(run) | scale_of(run + 4) >> 4 << 6;
    bytes[run + 4] = least_of(run) | least_of(run + 4) >> 4 << 6;
    bytes[run + 8] = (scale_of(run + 4) & 15) | (least_of(run + 4) & 15) << 4;
  }
  return {bytes.begin(), bytes.end()};
}

/// Element e of run r in 4_K and 5_K: runs 2 k and 2 k + 1 share 32 bytes.
std::string nibbles_of_runs(int most) {
  std::string bytes;
  for (int pair = 0; pair < 4; ++pair)
    for (int k = 0; k < 32; ++k)
      bytes += static_cast<char>((quant(pair * 64 + k, most) & 15) | (quant(pair * 64 + 32 + k, most) & 15) << 4);
  return bytes;
}

void check_runs(const std::vector<float>& values, int most) {
  REQUIRE(values.size() == 256);
  for (int element = 0; element < 256; ++element)
    CHECK(values[element] == 0.5F * static_cast<float>(scale_of(element / 32)) * static_cast<float>(quant(element, most)) -
                                 0.25F * static_cast<float>(least_of(element / 32)));
}

}  // namespace

TEST_CASE("elements that are stored one by one are read as they are") {
  CHECK(expanded(0, stored(1.5F) + stored(-3e30F)) == std::vector<float>{1.5F, -3e30F});
  CHECK(expanded(1, half(0.25F) + half(-65504)) == std::vector<float>{0.25F, -65504});
  CHECK(expanded(30, stored(std::uint16_t{0x3fc0})) == std::vector<float>{1.5F});
}

TEST_CASE("blocks of 32 are a scale times small integers, with a minimum or around zero") {
  check_linear(expanded(2, half(0.5F) + nibbles(15) + half(0.5F) + nibbles(15)), 0.5F, -4, 15);
  check_linear(expanded(3, half(0.5F) + half(-3) + nibbles(15)), 0.5F, -3, 15);
  check_linear(expanded(6, half(0.25F) + fifth_bits() + nibbles(31)), 0.25F, -4, 31);
  check_linear(expanded(7, half(0.25F) + half(2) + fifth_bits() + nibbles(31)), 0.25F, 2, 31);
  std::string bytes;
  for (int k = 0; k < 32; ++k) bytes += static_cast<char>(quant(k, 255) - 128);
  check_linear(expanded(8, half(2) + bytes), 2, -256, 255);
}

TEST_CASE("runs of 32 in blocks of 256 have scales and minima of six bits of their own") {
  check_runs(expanded(12, half(0.5F) + half(0.25F) + packed_scales() + nibbles_of_runs(15)), 15);
  std::string fifth(32, 0);
  for (int element = 0; element < 256; ++element)
    fifth[element % 32] = static_cast<char>(fifth[element % 32] | quant(element, 31) >> 4 << element / 32);
  check_runs(expanded(13, half(0.5F) + half(0.25F) + packed_scales() + fifth + nibbles_of_runs(31)), 31);
}

TEST_CASE("Q6_K has a signed scale for each 16 elements, and six bits of each in two places") {
  std::string low(128, 0), high(64, 0), scales(16, 0);
  for (int element = 0; element < 256; ++element) {
    const int part = element / 128, run = element / 32 % 4, k = element % 32, value = quant(element, 63);
    char& four = low[part * 64 + run % 2 * 32 + k];
    four = static_cast<char>(four | (value & 15) << (run / 2 * 4));
    char& two = high[part * 32 + k];
    two = static_cast<char>(two | value >> 4 << (run * 2));
    scales[element / 16] = static_cast<char>(scale_of_16(element / 16));
  }
  const std::vector<float> values = expanded(14, low + high + scales + half(0.5F));
  REQUIRE(values.size() == 256);
  for (int element = 0; element < 256; ++element)
    CHECK(values[element] == 0.5F * static_cast<float>(scale_of_16(element / 16)) * static_cast<float>(quant(element, 63) - 32));
}

TEST_CASE("a type that is not read has no format, and all that are have names") {
  CHECK(find_block_format(10) == nullptr);  // Q2_K
  CHECK(find_block_format(4) == nullptr);   // was removed from the format
  CHECK(block_format_names() == "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K");
}
