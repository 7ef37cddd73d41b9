// Rotary positions: frequencies, and rows turned on their way into cells.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/gradient.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference_rotary.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

std::vector<float> random_floats(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 1.5F);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

std::string refusal(const Rotary& rotary, int head_dim) {
  try {
    rotary.validate(head_dim);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

std::vector<float> floats_of(const Buffer& cell) {
  return {cell.floats(), cell.floats() + cell.bytes() / std::int64_t{sizeof(float)}};
}

/// A unit's queries and keys, 3 query heads to a key head, in cells.
struct Cells {
  static constexpr int kTokens = 37, kGroup = 3, kHeads = 2;
  CellShape shape;
  Buffer query, key_value;

  Cells(int head_dim, Type type, RowOrder rows, std::int64_t stride)
      : shape{.head_dim = head_dim, .value_dim = 5, .group = kGroup, .rows = rows, .residues = {.stride = stride}, .type = type},
        query(cell_bytes(Role::query, shape, kTokens)),
        key_value(cell_bytes(Role::key_value, shape, kTokens)) {
    query.fill(NAN), key_value.fill(NAN);
  }
  void pack(const std::vector<float>& queries, const std::vector<float>& keys, const std::vector<float>& values,
            const Turned& turned = {}) const {
    pack_query(shape, Rows<const float>(queries.data(), kTokens, kHeads * kGroup, shape.head_dim), 0, kTokens, 1, query.data(),
               turned);
    pack_key_value(shape, Rows<const float>(keys.data(), kTokens, kHeads, shape.head_dim),
                   Rows<const float>(values.data(), kTokens, kHeads, 5), 0, kTokens, 1, key_value.data(), turned);
  }
};

/// The same cells, made of rows that were turned by the definition.
void check_cells(const Rotary& rotary, int head_dim, Type type, const Stretch& stretch, const KernelTable& kernels,
                 RowOrder rows = RowOrder::by_token, std::int64_t stride = 1) {
  const RotaryTable table(rotary, head_dim, kernels);
  const auto queries = random_floats(std::int64_t{Cells::kTokens} * 6 * head_dim, 1);
  const auto keys = random_floats(std::int64_t{Cells::kTokens} * 2 * head_dim, 2), values = random_floats(Cells::kTokens * 10, 3);
  std::vector<std::int64_t> positions;
  for (int token = 0; token < Cells::kTokens; ++token) positions.push_back(std::min(stretch.first + token, stretch.last));
  const Cells found(head_dim, type, rows, stride), expected(head_dim, type, rows, stride);
  found.pack(queries, keys, values, {.table = &table, .stretches = {stretch}});
  expected.pack(reference_turned(Rows<const float>(queries.data(), Cells::kTokens, 6, head_dim), rotary, positions, Type::f32),
                reference_turned(Rows<const float>(keys.data(), Cells::kTokens, 2, head_dim), rotary, positions, Type::f32),
                values);
  const auto all = floats_of(found.query), right = floats_of(expected.query);
  const auto all_keys = floats_of(found.key_value), right_keys = floats_of(expected.key_value);
  int different = 0, wrong = 0;  // a number may be rounded to the other side: no more than once in a thousand, far out
  const auto compare = [&](const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
      ++different;
      if (type == Type::f32) wrong += !(std::abs(a[i] - b[i]) <= std::ldexp(std::abs(b[i]), -22) + 1e-9F);
    }
  };
  compare(all, right), compare(all_keys, right_keys);
  CHECK(wrong == 0);
  CHECK(different <= static_cast<int>(all.size() + all_keys.size()) / (std::abs(stretch.first) > 1'000'000 ? 100 : 10'000));
}

}  // namespace

TEST_CASE("YaRN of 128 dims from 4,096 tokens keeps pairs up to 20, divides those from 46 on, and ramps between") {
  const Rotary yarn{.scaling = RotaryScaling::yarn, .scale = 8, .original_tokens = 4096};
  const auto plain = Rotary{}.frequencies(128), found = yarn.frequencies(128);
  REQUIRE(found.size() == 64);
  for (int pair = 0; pair < 64; ++pair) {
    const double slow = std::clamp((pair - 20) / 26.0, 0.0, 1.0);
    CHECK(std::abs(found[pair] - plain[pair] * (1 - slow + slow / 8)) <= 1e-15 * plain[pair]);
  }
  CHECK(found[20] == plain[20]);
  CHECK(found[21] < plain[21]);
  CHECK(found[45] > plain[45] / 8);
  CHECK(found[46] == plain[46] / 8);
  CHECK(std::abs(yarn.magnitude() - (0.1 * std::log(8) + 1)) < 1e-15);
  CHECK(Rotary{.scaling = RotaryScaling::yarn, .scale = 1, .original_tokens = 4096}.magnitude() == 1);
}

TEST_CASE("frequencies are powers of the base; linear scaling divides all of them, NTK the last and not the first") {
  const auto plain = Rotary{.base = 500000}.frequencies(64);
  for (int pair = 0; pair < 32; ++pair) CHECK(std::abs(plain[pair] / std::exp(-std::log(500000) * pair / 32) - 1) < 1e-13);
  const auto linear = Rotary{.base = 500000, .scaling = RotaryScaling::linear, .scale = 4}.frequencies(64);
  for (int pair = 0; pair < 32; ++pair) CHECK(linear[pair] == plain[pair] / 4);
  const auto ntk = Rotary{.base = 500000, .scaling = RotaryScaling::ntk, .scale = 4}.frequencies(64);
  CHECK(ntk[0] == 1);
  CHECK(std::abs(ntk[31] / (plain[31] / 4) - 1) < 1e-13);
  CHECK(Rotary{.base = 500000, .dims = 64}.frequencies(100) == plain);
}

TEST_CASE(
    "cells hold what the definition gives: both layouts, some dims, every type and instruction set, anywhere in the sequence") {
  for (const KernelTable* kernels : available_kernels()) {
    for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
      for (const auto& [head_dim, dims] : {std::pair{2, 0}, {64, 0}, {40, 22}, {33, 16}, {576, 0}, {5, 4}}) {
        for (const RotaryLayout layout : {RotaryLayout::half, RotaryLayout::interleaved}) {
          for (const std::int64_t first : {std::int64_t{0}, std::int64_t{-29}, std::int64_t{5000}, (std::int64_t{1} << 31) - 37}) {
            INFO(kernels->name << ", " << to_string(type) << ", " << dims << " dims of " << head_dim << ", from " << first);
            const RowOrder rows = head_dim == 40 ? RowOrder::by_head : RowOrder::by_token;
            check_cells({.layout = layout, .dims = dims}, head_dim, type, {.first = first}, *kernels, rows,
                        dims == 22 || dims == 4 ? 6 : 1);
          }
        }
      }
    }
  }
}

TEST_CASE("a stretch stands still at its last position, and may begin there") {
  const KernelTable& kernels = select_kernels();
  check_cells({}, 16, Type::f32, {.first = 100, .last = 117}, kernels);
  check_cells({}, 16, Type::f32, {.first = 100, .last = 100}, kernels);
  check_cells({}, 16, Type::f32, {.first = 130, .last = 117}, kernels);
  check_cells({}, 16, Type::f32, {.first = 100, .last = 117}, kernels, RowOrder::by_head);
  check_cells({}, 16, Type::f32, {.first = 100, .last = 117}, kernels, RowOrder::by_token, 4);
}

TEST_CASE("the two layouts differ by a fixed permutation of channels") {
  constexpr int kDim = 48;
  const auto rows = random_floats(kDim, 9);
  const std::int64_t position = 12345;
  std::vector<float> permuted(kDim);
  for (int pair = 0; pair < kDim / 2; ++pair) permuted[2 * pair] = rows[pair], permuted[2 * pair + 1] = rows[pair + kDim / 2];
  const RotaryTable half({}, kDim, select_kernels()), interleaved({.layout = RotaryLayout::interleaved}, kDim, select_kernels());
  auto by_half = rows;
  Turner(half, {.first = position}).turn(by_half.data());
  Turner(interleaved, {.first = position}).turn(permuted.data());
  for (int pair = 0; pair < kDim / 2; ++pair) {
    CHECK(permuted[2 * pair] == by_half[pair]);
    CHECK(permuted[2 * pair + 1] == by_half[pair + kDim / 2]);
  }
}

TEST_CASE("scores depend on how far apart two tokens are, and not on where they are, up to 2^31") {
  constexpr int kDim = 64;
  const auto query = random_floats(kDim, 4), key = random_floats(kDim, 5);
  const RotaryTable table({}, kDim, select_kernels());
  const auto score = [&](std::int64_t i, std::int64_t j) {
    auto q = query, k = key;
    Turner(table, {.first = i}).turn(q.data()), Turner(table, {.first = j}).turn(k.data());
    double sum = 0;
    for (int c = 0; c < kDim; ++c) sum += static_cast<double>(q[c]) * static_cast<double>(k[c]);
    return sum;
  };
  for (const std::int64_t apart : {0, 1, 77, 5000}) {
    const double at_zero = score(apart, 0);
    for (const std::int64_t shift : {std::int64_t{-3000}, std::int64_t{1000}, std::int64_t{1} << 20, (std::int64_t{1} << 31) - 1}) {
      CHECK(std::abs(score(shift + apart, shift) - at_zero) < 2e-5);
    }
    CHECK(std::abs(score(apart, 1) - at_zero) > 1e-2);
  }
}

TEST_CASE("what is turned back is the transpose of what was turned, YaRN's magnitude in both") {
  for (const RotaryLayout layout : {RotaryLayout::half, RotaryLayout::interleaved}) {
    constexpr int kDim = 26;
    const Rotary rotary{.layout = layout, .dims = 20, .scaling = RotaryScaling::yarn, .scale = 16, .original_tokens = 512};
    const RotaryTable table(rotary, kDim, select_kernels());
    const auto row = random_floats(kDim, 6), gradient = random_floats(kDim, 7);
    auto turned = row;
    const Turner turner(table, {.first = 777});
    turner.turn(turned.data());
    std::vector<double> back(kDim);
    turner.add_turned_back(gradient.data(), kDim, back.data());
    double forward = 0, backward = 0;
    for (int c = 0; c < kDim; ++c) {
      forward += static_cast<double>(turned[c]) * static_cast<double>(gradient[c]);
      backward += static_cast<double>(row[c]) * back[c];
    }
    CHECK(std::abs(forward - backward) < 1e-5);
    for (int c = 20; c < kDim; ++c) CHECK(turned[c] == row[c]);
    double before = 0, after = 0;
    for (int c = 0; c < 20; ++c) {
      before += std::pow(static_cast<double>(row[c]), 2);
      after += std::pow(static_cast<double>(turned[c]), 2);
    }
    CHECK(std::abs(after / before - std::pow(0.1 * std::log(16) + 1, 2)) < 1e-6);
  }
}

TEST_CASE("rotary positions that cannot be are refused with value, limit and remedy") {
  CHECK(refusal({}, 64).empty());
  CHECK(refusal({}, 33).find("33 dims") != std::string::npos);
  CHECK(refusal({.dims = 66}, 64).find("from 2 to the head dim") != std::string::npos);
  CHECK(refusal({.dims = -2}, 64).find("-2 dims") != std::string::npos);
  CHECK(refusal({}, 578).find("at most 576") != std::string::npos);
  CHECK(refusal({.base = 1}, 64).find("above 1") != std::string::npos);
  CHECK(refusal({.base = NAN}, 64).find("nan") != std::string::npos);
  CHECK(refusal({.scaling = RotaryScaling::linear, .scale = 0.5}, 64).find("scale of rotary positions is 0.5") !=
        std::string::npos);
  CHECK(refusal({.scaling = RotaryScaling::ntk, .scale = 2}, 2).find("at least 4") != std::string::npos);
  CHECK(refusal({.scaling = RotaryScaling::yarn, .scale = 2}, 64).find("original length is 0") != std::string::npos);
  CHECK(refusal({.scaling = RotaryScaling::yarn, .scale = 2, .original_tokens = 9, .beta_fast = 0.5}, 64).find("betas") !=
        std::string::npos);
}

}  // namespace gyre::testing
