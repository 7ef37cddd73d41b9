// Results of drawn numbers, as no attend need have left them: what settling and combining do to each of them.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <tuple>

#include "kernels/attend_case.hpp"
#include "kernels/integrity.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "kernels/result.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// Some rows have seen nothing.
struct Drawn {
  CellShape shape;
  std::int64_t tokens;
  Buffer partial{cell_bytes(Role::partial, shape, tokens)};
  Buffer result{cell_bytes(Role::result, shape, tokens)};

  Drawn(const CellShape& of, std::int64_t count, std::mt19937_64& random) : shape(of), tokens(count) {
    std::normal_distribution<float> normal;
    clear_partial(shape, tokens, partial.data());
    result.fill(std::numeric_limits<float>::quiet_NaN());
    const std::int64_t lines = partial_strip_floats(shape) / kStrip;
    for (std::int64_t row = 0; row < tokens * shape.group; ++row) {
      if (random() % 3 == 0) continue;
      for (std::int64_t line = 0; line + 3 < lines; line += 2) {
        number(row, line) = normal(random), number(row, line + 1) = number(row, line) * normal(random) * 0x1p-24F;
      }
      if (random() % 4 == 0) number(row, 0) = -0.0F, number(row, 1) = -0.0F;
      number(row, lines - 3) = static_cast<float>(static_cast<int>(random() % 400) - 200);
      number(row, lines - 2) = 1 + std::abs(normal(random)), number(row, lines - 1) = normal(random) * 0x1p-24F;
    }
    settle_partial(shape, partial.data(), tokens, result.data());
  }
  float& number(std::int64_t row, std::int64_t line) const {
    return partial.floats()[row / kStrip * partial_strip_floats(shape) + line * kStrip + row % kStrip];
  }
  float of_result(std::int64_t row, std::int64_t line) const {
    return result.floats()[row / kStrip * result_strip_floats(shape) + line * kStrip + row % kStrip];
  }
  /// Of numerators or, of line channels + 1, the sum; as a result has them.
  double exact(std::int64_t row, std::int64_t line) const {
    const std::int64_t at = line > channels() ? 2 * channels() + 1 : 2 * line;
    return static_cast<double>(number(row, at)) + static_cast<double>(number(row, at + 1));
  }
  float maximum(std::int64_t row) const { return number(row, 2 * channels()); }
  std::int64_t channels() const { return round_up(shape.value_dim, kChannels); }
};

std::uint32_t bits(float number) {
  return std::bit_cast<std::uint32_t>(number);
}

void check_row(const Drawn& before, const Drawn& other, const Drawn& after, std::int64_t row) {
  const bool seen = before.maximum(row) != kEmptyMaximum, other_seen = other.maximum(row) != kEmptyMaximum;
  bool right = true;
  for (std::int64_t line = 0; !other_seen && line < partial_strip_floats(before.shape) / kStrip; ++line) {
    right = right && bits(after.number(row, line)) == bits(before.number(row, line));
  }
  const double largest = std::max(before.maximum(row), other.maximum(row));
  CHECK(after.maximum(row) == static_cast<float>(largest));
  for (std::int64_t line = 0; line < before.channels() + 2; ++line) {
    if (line == before.channels()) continue;
    const auto settled_number = static_cast<double>(other.of_result(row, line));
    const double kept = seen ? std::exp2(static_cast<double>(before.maximum(row)) - largest) * before.exact(row, line) : 0;
    const double taken = other_seen ? std::exp2(static_cast<double>(other.maximum(row)) - largest) * settled_number : 0;
    right = right && other.of_result(row, line) == static_cast<float>(other.exact(row, line));
    right = right && (settled_number != 0 || !std::signbit(settled_number));
    // Of what was there next to nothing is rounded away, whatever is added.
    const double bound = 0x1.1p-23 * std::abs(taken) + 0x1p-46 * std::abs(kept) + 0x1p-140;
    right = right && std::abs(after.exact(row, line) - kept - taken) <= bound;
    if (!seen && other_seen) right = right && after.exact(row, line) == settled_number;
  }
  CHECK(right);
}

}  // namespace

TEST_CASE("a result is the partial's numbers rounded once, and combining adds it exactly, or leaves a row that saw nothing alone") {
  std::mt19937_64 random(11);
  for (const KernelTable* kernels : available_kernels()) {
    for (const auto& [value_dim, group, tokens] : {std::tuple{1, 1, 1}, {3, 3, 11}, {16, 2, 8}, {40, 5, 33}}) {
      const CellShape shape{.head_dim = 5, .value_dim = value_dim, .group = group};
      Drawn partial(shape, tokens, random);
      const Drawn other(shape, tokens, random);
      partial.number(0, 0) = -0.0F, partial.number(0, 1) = -0.0F;  // an addition of 0 would make them 0
      std::mt19937_64 same(12);
      const Drawn before(shape, tokens, same);
      std::memcpy(before.partial.data(), partial.partial.data(), partial.partial.bytes());
      combine(*kernels, shape, tokens, other.result.data(), partial.partial.data());
      INFO(kernels->name << ", value dim " << value_dim << ", group " << group << ", tokens " << tokens);
      for (std::int64_t row = 0; row < tokens * group; ++row) check_row(before, other, partial, row);
    }
  }
}

TEST_CASE("a result of a checked shape ends in a checksum, which neither settling nor combining touches or reads") {
  std::mt19937_64 random(13);
  const CellShape plain{.head_dim = 5, .value_dim = 9, .group = 3};
  CellShape checked = plain;
  checked.integrity = Integrity::checked;
  const Drawn drawn(plain, 7, random);
  const Buffer result(cell_bytes(Role::result, checked, 7));
  REQUIRE(result.bytes() == drawn.result.bytes() + kTrailerBytes);
  std::memset(result.data(), 0x7f, result.bytes());
  settle_partial(checked, drawn.partial.data(), 7, result.data());
  CHECK(std::memcmp(result.data(), drawn.result.data(), drawn.result.bytes()) == 0);
  CHECK(std::all_of(result.data() + drawn.result.bytes(), result.data() + result.bytes(),
                    [](std::byte byte) { return byte == std::byte{0x7f}; }));

  const std::span<std::byte> bytes(result.data(), static_cast<std::size_t>(result.bytes()));
  const CellName name{.role = Role::result, .unit = 3, .head = 1};
  seal_cell(name, bytes);
  CHECK(verify_cell(name, bytes));
  CHECK_FALSE(verify_cell({.role = Role::partial, .unit = 3, .head = 1}, bytes));
  bytes[100] ^= std::byte{1};
  CHECK_FALSE(verify_cell(name, bytes));
  bytes[100] ^= std::byte{1};

  const Buffer one(cell_bytes(Role::partial, plain, 7)), other(cell_bytes(Role::partial, checked, 7));
  clear_partial(plain, 7, one.data()), clear_partial(checked, 7, other.data());
  combine(select_kernels(), plain, 7, drawn.result.data(), one.data());
  combine(select_kernels(), checked, 7, result.data(), other.data());
  CHECK(std::memcmp(one.data(), other.data(), one.bytes()) == 0);
}

TEST_CASE("settling, combining and finishing a unit of no tokens do nothing") {
  const CellShape shape{.head_dim = 5, .value_dim = 9, .integrity = Integrity::checked};
  settle_partial(shape, nullptr, 0, nullptr);
  combine(select_kernels(), shape, 0, nullptr, nullptr);
  finish_result(shape, nullptr, 0, 0, Rows<float>(nullptr, 0, 1, 9), nullptr, 0);
  CHECK(cell_bytes(Role::result, shape, 0) == 0);
}

}  // namespace gyre::testing
