// Between rows and cells.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/convert.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// Element (token, head, dim) is a number that says so, as well as one that every type holds can.
float mark(std::int64_t token, int head, int dim) {
  const std::uint64_t key = (static_cast<std::uint64_t>(token) * 1000 + static_cast<std::uint64_t>(head)) * 1000 + dim + 1;
  const std::uint64_t bits = key * 0x9e3779b97f4a7c15U >> 40;
  const float value = std::ldexp(static_cast<float>(128 + bits % 128), static_cast<int>(bits / 128 % 16) - 10);
  return bits / 2048 % 2 == 0 ? value : -value;
}

/// Rows of marks in any type.
struct Marked {
  std::vector<std::byte> data;
  TypedRows rows;

  Marked(Type type, std::int64_t tokens, int heads, int dim) : data(tokens * heads * dim * type_bytes(type)) {
    std::vector<float> marks;
    for (std::int64_t token = 0; token < tokens; ++token) {
      for (int head = 0; head < heads; ++head) {
        for (int d = 0; d < dim; ++d) marks.push_back(mark(token, head, d));
      }
    }
    convert(marks.data(), Type::f32, data.data(), type, std::ssize(marks));
    rows = TypedRows(data.data(), type, tokens, heads, dim);
  }
};

/// A cell's elements, one after the other.
std::vector<float> elements(const Buffer& cell, Type type) {
  std::vector<float> values(cell.bytes() / type_bytes(type));
  convert(cell.data(), type, values.data(), Type::f32, std::ssize(values));
  return values;
}

constexpr Type kTypes[] = {Type::f32, Type::bf16, Type::f16};

/// The token at a place, by counting.
std::int64_t token_at(std::int64_t tokens, std::int64_t stride, std::int64_t place) {
  for (std::int64_t residue = 0; residue < stride; ++residue) {
    for (std::int64_t token = residue; token < tokens; token += stride) {
      if (place-- == 0) return token;
    }
  }
  return 0;
}

void check_query_cell(int dim, int group, int tokens, RowOrder rows, std::int64_t stride, Type from, Type to) {
  const CellShape shape{.head_dim = dim, .value_dim = 1, .group = group, .rows = rows, .residues = {.stride = stride}, .type = to};
  const int head = 1, first = 2;
  const Marked queries(from, tokens + 4, 2 * group, dim);
  const Buffer cell(cell_bytes(Role::query, shape, tokens));
  cell.fill(-1);
  pack_query(shape, queries.rows, first, tokens, head, cell.data());
  const std::vector<float> found = elements(cell, to);
  bool right = true;
  for (std::int64_t i = 0; i < std::ssize(found); ++i) {
    const std::int64_t strip = i / query_strip_elements(shape), j = i % query_strip_elements(shape);
    const std::int64_t pair = pair_of(to), row = strip * kStrip + j / pair % kStrip, d = j / pair / kStrip * pair + j % pair;
    const bool there = d < dim && row < tokens * group;
    const std::int64_t token = token_at(tokens, stride, rows == RowOrder::by_head ? row % tokens : row / group);
    const std::int64_t member = rows == RowOrder::by_head ? row / tokens : row % group;
    const float expected = there ? mark(first + token, head * group + static_cast<int>(member), static_cast<int>(d)) : 0;
    right = right && found[i] == expected;
  }
  CHECK(right);
}

void check_key_value_cell(int dim, int value_dim, int tokens, std::int64_t stride, Type from, Type to) {
  const CellShape shape{.head_dim = dim, .value_dim = value_dim, .group = 4, .residues = {.stride = stride}, .type = to};
  const int head = 1, first = 3;
  const Marked keys(from, tokens + 4, 3, dim), values(from, tokens + 4, 3, value_dim);
  const Buffer cell(cell_bytes(Role::key_value, shape, tokens));
  cell.fill(-1);
  pack_key_value(shape, keys.rows, values.rows, first, tokens, head, cell.data());
  const std::vector<float> found = elements(cell, to);
  bool right = true;
  const std::int64_t border = value_offset_elements(shape, tokens);
  const std::int64_t pair = pair_of(to), strip = kStrip * cell_dims(shape), rounded = round_up(tokens, kStrip);
  for (std::int64_t i = 0; i < border; ++i) {
    const std::int64_t row = i / strip * kStrip + i / pair % kStrip, d = i % strip / pair / kStrip * pair + i % pair;
    right = right &&
            found[i] == (row >= tokens || d >= dim ? 0 : mark(first + token_at(tokens, stride, row), head, static_cast<int>(d)));
  }
  for (std::int64_t i = border; i < std::ssize(found); ++i) {
    const std::int64_t j = i - border, block = rounded * kChannels, row = j % block / pair / kChannels * pair + j % pair;
    const int channel = static_cast<int>(j / block * kChannels + j / pair % kChannels);
    right = right &&
            found[i] == (row >= tokens || channel >= value_dim ? 0 : mark(first + token_at(tokens, stride, row), head, channel));
  }
  CHECK(right);
}

}  // namespace

TEST_CASE("a query cell holds row token * group + member, or member * tokens + token, in strips with zeros behind, of every type") {
  for (const auto& [dim, group, tokens] : {std::tuple{5, 3, 7}, {16, 1, 16}, {17, 2, 20}, {40, 8, 1}, {1, 1, 1}, {131, 1, 18}}) {
    for (const Type from : kTypes) {
      for (const Type to : kTypes) {
        for (const RowOrder rows : {RowOrder::by_token, RowOrder::by_head}) {
          check_query_cell(dim, group, tokens, rows, 1, from, to);
          check_query_cell(dim, group, tokens, rows, 3, from, to);
        }
      }
    }
  }
}

TEST_CASE("a key/value cell holds keys in strips and values in blocks of 8 channels with zeros behind, of and in every type") {
  for (const auto& [dim, value_dim, tokens] :
       {std::tuple{5, 3, 7}, {16, 8, 16}, {17, 20, 33}, {64, 64, 1}, {1, 1, 31}, {3, 139, 18}}) {
    for (const Type from : kTypes) {
      for (const Type to : kTypes) {
        for (const int stride : {1, 5}) check_key_value_cell(dim, value_dim, tokens, stride, from, to);
      }
    }
  }
}

TEST_CASE("cells round to nearest even what their type cannot hold") {
  for (const Type to : {Type::bf16, Type::f16}) {
    const CellShape shape{.head_dim = 70, .value_dim = 1, .type = to};
    std::vector<float> row(70);
    for (int d = 0; d < 70; ++d) row[d] = static_cast<float>(std::exp(0.1 * d) / 7);
    const Buffer cell(cell_bytes(Role::query, shape, 1));
    pack_query(shape, Rows<const float>(row.data(), 1, 1, 70), 0, 1, 0, cell.data());
    const std::vector<float> found = elements(cell, to);
    for (int d = 0; d < 70; ++d)
      CHECK(found[d / pair_of(to) * pair_of(to) * kStrip + d % pair_of(to)] ==
            (to == Type::bf16 ? to_float(to_bf16(row[d])) : to_float(to_f16(row[d]))));
  }
}

TEST_CASE("cells are multiples of their alignment, and rows have none") {
  for (const int dim : {1, 3, 8, 40, 576}) {
    for (const std::int64_t tokens : {0, 1, 15, 16, 17, 512}) {
      for (const Type type : kTypes) {
        const CellShape checked{.head_dim = dim, .value_dim = dim, .group = 3, .type = type, .integrity = Integrity::checked};
        const CellShape shape{.head_dim = dim, .value_dim = dim, .group = 3, .type = type};
        CHECK(cell_bytes(Role::partial, checked, tokens) == cell_bytes(Role::partial, shape, tokens));
        for (const Role role : {Role::query, Role::key_value, Role::result}) {
          CHECK(cell_bytes(role, checked, tokens) == cell_bytes(role, shape, tokens) + (tokens > 0 ? kTrailerBytes : 0));
        }
        for (const Role role : {Role::query, Role::key_value, Role::partial, Role::result}) {
          const std::int64_t bytes = cell_bytes(role, shape, tokens);
          CHECK(bytes % kAlignment == 0);
          CHECK((bytes == 0) == (tokens == 0));
        }
        CHECK(value_offset_elements(shape, tokens) * type_bytes(type) % kAlignment == 0);
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
    for (int c = 0; c < shape.value_dim; ++c) lane[c * kNumeratorStride] = static_cast<float>(row + c);
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

TEST_CASE("finished rows of 16 bits are the fp32 rows, rounded once") {
  for (const int dim : {3, 64, 70, 131}) {
    AttendCase attend({.head_dim = 8, .value_dim = dim, .group = 3, .query_tokens = 21, .query_unit = 21});
    attend.run(select_kernels());
    const Finished finished = attend.finish();
    std::vector<bf16> bf16_out(finished.out.size() + 1, bf16{0x5a5a});
    std::vector<f16> f16_out(finished.out.size() + 1, f16{0x5a5a});
    const std::byte* const partial = attend.work().heads[0].queries[0].partial;
    finish_partial(attend.cells(), partial, 21, 0, {bf16_out.data(), 21, 3, dim}, nullptr, 0);
    finish_partial(attend.cells(), partial, 21, 0, {f16_out.data(), 21, 3, dim}, nullptr, 0);
    bool right = bf16_out.back().bits == 0x5a5a && f16_out.back().bits == 0x5a5a;
    for (std::size_t i = 0; i < finished.out.size(); ++i) {
      right = right && bf16_out[i].bits == to_bf16(finished.out[i]).bits && f16_out[i].bits == to_f16(finished.out[i]).bits;
    }
    CHECK(right);
  }
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
                             Rows<const float>(values.data() + begin * 64, end - begin, 1, 64), 0, begin, {.scale = 0.125}, bands);
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
