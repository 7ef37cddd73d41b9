// Between rows and cells.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// Element (token, head, dim) is a number that says so.
float mark(std::int64_t token, int head, int dim) {
  return static_cast<float>(1 + token * 10000 + head * 1000 + dim);
}

std::vector<float> marked(std::int64_t tokens, int heads, int dim) {
  std::vector<float> data;
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (int head = 0; head < heads; ++head) {
      for (int d = 0; d < dim; ++d) data.push_back(mark(token, head, d));
    }
  }
  return data;
}

}  // namespace

TEST_CASE("a query cell holds row token * group + member, times the factor, in strips of 16 with zeros behind") {
  for (const auto& [dim, group, tokens] : {std::tuple{5, 3, 7}, {16, 1, 16}, {17, 2, 20}, {40, 8, 1}, {1, 1, 1}}) {
    const CellShape shape{.head_dim = dim, .value_dim = 1, .group = group};
    const int head = 1, first = 2;
    const std::vector<float> data = marked(tokens + 4, 2 * group, dim);
    const Buffer cell(cell_bytes(Role::query, shape, tokens));
    cell.fill(-1);
    pack_query(shape, Rows<const float>(data.data(), tokens + 4, 2 * group, dim), first, tokens, head, 0.5F, cell.data());
    bool right = true;
    for (std::int64_t i = 0; i < cell.bytes() / 4; ++i) {
      const std::int64_t row = i / (kStrip * dim) * kStrip + i % kStrip;
      const int d = static_cast<int>(i / kStrip % dim);
      const float expected =
          row >= tokens * group ? 0 : 0.5F * mark(first + row / group, head * group + static_cast<int>(row % group), d);
      right = right && cell.floats()[i] == expected;
    }
    CHECK(right);
  }
}

TEST_CASE("a key/value cell holds keys in strips and values in blocks of 8 channels with zeros behind") {
  for (const auto& [dim, value_dim, tokens] : {std::tuple{5, 3, 7}, {16, 8, 16}, {17, 20, 33}, {64, 64, 1}, {1, 1, 31}}) {
    const CellShape shape{.head_dim = dim, .value_dim = value_dim, .group = 4};
    const int head = 1, first = 3;
    const std::vector<float> keys = marked(tokens + 4, 3, dim);
    const std::vector<float> values = marked(tokens + 4, 3, value_dim);
    const Buffer cell(cell_bytes(Role::key_value, shape, tokens));
    cell.fill(-1);
    pack_key_value(shape, Rows<const float>(keys.data(), tokens + 4, 3, dim),
                   Rows<const float>(values.data(), tokens + 4, 3, value_dim), first, tokens, head, cell.data());
    bool right = true;
    const std::int64_t border = value_offset_floats(shape, tokens);
    for (std::int64_t i = 0; i < border; ++i) {
      const std::int64_t row = i / (kStrip * dim) * kStrip + i % kStrip;
      right = right && cell.floats()[i] == (row >= tokens ? 0 : mark(first + row, head, static_cast<int>(i / kStrip % dim)));
    }
    const std::int64_t rounded = round_up(tokens, kStrip);
    for (std::int64_t i = border; i < cell.bytes() / 4; ++i) {
      const std::int64_t j = i - border, row = j / kChannels % rounded;
      const int channel = static_cast<int>(j / (rounded * kChannels) * kChannels + j % kChannels);
      right = right && cell.floats()[i] == (row >= tokens || channel >= value_dim ? 0 : mark(first + row, head, channel));
    }
    CHECK(right);
  }
}

TEST_CASE("cells are multiples of their alignment, and rows have none") {
  for (const int dim : {1, 3, 8, 40, 576}) {
    for (const std::int64_t tokens : {0, 1, 15, 16, 17, 512}) {
      const CellShape shape{.head_dim = dim, .value_dim = dim, .group = 3};
      for (const Role role : {Role::query, Role::key_value, Role::partial}) {
        const std::int64_t bytes = cell_bytes(role, shape, tokens);
        CHECK(bytes % kAlignment == 0);
        CHECK((bytes == 0) == (tokens == 0));
      }
    }
  }
  CHECK_THROWS_AS(cell_bytes(Role::rows, {}, 1), std::invalid_argument);
}

TEST_CASE("finishing divides by the sum, takes the natural logarithm, and writes no other row") {
  const CellShape shape{.head_dim = 1, .value_dim = 20, .group = 3};
  const std::int64_t tokens = 7, first = 2;
  const int head = 1;
  const Buffer cell(cell_bytes(Role::partial, shape, tokens));
  cell.fill(std::numeric_limits<float>::quiet_NaN());
  clear_partial(shape, tokens, cell.data());
  const std::int64_t blind = 4;  // this row stays empty
  for (std::int64_t row = 0; row < tokens * shape.group; ++row) {
    float* const lane = cell.floats() + row / kStrip * partial_strip_floats(shape) + row % kStrip;
    if (row == blind) continue;
    for (int c = 0; c < shape.value_dim; ++c) lane[c * kStrip] = static_cast<float>(row + c);
    lane[48 * kStrip] = static_cast<float>(row - 9);
    lane[49 * kStrip] = 3;
  }
  std::vector<float> out(11 * 6 * 20, -7), lse(11 * 6, -7);
  finish_partial(shape, cell.data(), tokens, head, Rows<float>(out.data(), 11, 6, 20), lse.data(), first);
  bool right = true;
  for (std::int64_t i = 0; i < 11 * 6; ++i) {
    const std::int64_t token = i / 6 - first, row = token * 3 + i % 6 - 3;
    const bool written = token >= 0 && token < tokens && i % 6 >= 3;
    float expected_lse = -7;
    if (written) {
      expected_lse = row == blind ? -std::numeric_limits<float>::infinity()
                                  : static_cast<float>(std::numbers::ln2 * static_cast<double>(row - 9) + std::log(3.0));
    }
    right = right && lse[i] == expected_lse;
    for (int c = 0; c < 20; ++c) {
      const float expected = !written ? -7.0F : row == blind ? 0.0F : static_cast<float>(row + c) / 3.0F;
      right = right && out[i * 20 + c] == expected;
    }
  }
  CHECK(right);
  finish_partial(shape, cell.data(), tokens, head, Rows<float>(out.data(), 11, 6, 20), nullptr, first);
}

TEST_CASE("reference partials over parts of the keys merge to the whole") {
  const CaseShape shape{.query_tokens = 5, .key_tokens = 60, .query_offset = 55, .mask = "causal"};
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> query(64), keys(60 * 64), values(60 * 64);
  for (std::vector<float>* data : {&query, &keys, &values}) {
    for (float& x : *data) x = normal(random);
  }
  const Bands bands = Mask::causal().bands();
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return reference_partial(query.data(), 40, Rows<const float>(keys.data() + begin * 64, end - begin, 1, 64),
                             Rows<const float>(values.data() + begin * 64, end - begin, 1, 64), 0, begin, 0.125, bands);
  };
  const ReferencePartial whole = part(0, 60);
  ReferencePartial merged(64);
  for (const auto& [begin, end] : {std::pair{50, 60}, {0, 13}, {13, 14}, {14, 50}}) merged.merge(part(begin, end));
  CHECK(merged.lse() == Approx(whole.lse()).epsilon(1e-13));
  for (int c = 0; c < 64; ++c) {
    CHECK(merged.out(c) == Approx(whole.out(c)).margin(1e-13));
    CHECK(merged.out_bound(c) == Approx(whole.out_bound(c)).epsilon(1e-12));
  }
  const ReferencePartial nothing = part(50, 60);
  CHECK(nothing.out(0) == 0);
  CHECK(nothing.lse() == -std::numeric_limits<double>::infinity());
}

}  // namespace gyre::testing
