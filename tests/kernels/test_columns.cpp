// Keys that masks show as columns, gathered.
#include "kernels/columns.hpp"

#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/convert.hpp"
#include "kernels/pack.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"

namespace gyre::testing {
namespace {

using Places = std::vector<std::int16_t>;

/// A mask of 64 columns, of which those named are visible: to the second of two heads too if told.
Bands columns_mask(const std::vector<std::int64_t>& visible, const std::vector<std::int64_t>& to_second = {}) {
  std::vector<std::uint8_t> cells(2 * 64);
  for (const std::int64_t key : visible) cells[static_cast<std::size_t>(key)] = 1;
  for (const std::int64_t key : to_second) cells[static_cast<std::size_t>(64 + key)] = 1;
  const BlockShape shape{.query_tokens = kEveryQuery, .key_tokens = 1, .heads = 2, .rows = 1, .columns = 64};
  return (Mask::columns(BlockTable(shape, cells), "c") & Mask::causal()).bands();
}

/// [tokens, 1, dim] of numbers that the type holds.
std::vector<float> random_rows(std::int64_t tokens, int dim, Type type, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<std::size_t>(tokens * dim));
  for (float& x : rows) {
    x = normal(random);
    if (type == Type::bf16) x = to_float(to_bf16(x));
    if (type == Type::f16) x = to_float(to_f16(x));
  }
  return rows;
}

}  // namespace

TEST_CASE("columns are gathered for some head of a group, where that saves half of the panels, and else left alone") {
  CHECK(columns_of(columns_mask({3, 20, 41}), 0, {0, 1}, {0, 64}) == Places{3, 20, 41});
  CHECK(columns_of(columns_mask({3, 20, 41}), 0, {0, 1}, {16, 40}) == Places{});
  CHECK(columns_of(columns_mask({3, 20, 41}), 0, {0, 1}, {2, 30}) == Places{1, 18});
  CHECK(columns_of(columns_mask({3, 41}, {20}), 0, {0, 2}, {0, 64}) == Places{3, 20, 41});
  CHECK(columns_of(columns_mask({3, 41}, {20}), 0, {1, 2}, {0, 64}) == Places{});
  CHECK(columns_of(columns_mask({0, 1, 2, 3, 4, 5, 6, 7}), 0, {0, 1}, {0, 64}) == Places{});
  CHECK(columns_of(columns_mask({0, 1, 2, 3, 4, 5, 6, 7, 9, 20, 30}), 0, {0, 1}, {0, 64}) ==
        Places{0, 1, 2, 3, 4, 5, 6, 7, 9, 20, 30});
  CHECK(columns_of(Mask::causal().bands(), 0, {0, 1}, {0, 64}).empty());
  const Mask wide = Mask::parse("blocks(drawn 9 1 1 30,1099511627776,8)", test::drawn_files());
  CHECK(columns_of(wide.bands(), 0, {0, 1}, {0, 240}).empty());
}

TEST_CASE("queries of different rows of a table have columns of their own, and those of short rows none") {
  const auto columns_at = [](std::int64_t query_tokens, std::int64_t first_query, std::int64_t query) {
    BlockTable table({.query_tokens = query_tokens, .key_tokens = 1, .heads = 1, .rows = 2, .columns = 64});
    for (const auto& [row, key] : {std::pair{0, 3}, {0, 20}, {1, 41}, {1, 20}}) {
      std::vector<std::uint8_t> cells(64);
      cells[static_cast<std::size_t>(key)] = 1;
      table.show(0, row, cells);
    }
    return columns_of(Mask::blocks(std::move(table), "b").bands_at(first_query), query, {0, 1}, {0, 64});
  };
  CHECK(columns_at(150, 0, 149) == Places{3, 20});
  CHECK(columns_at(150, 0, 150) == Places{20, 41});
  CHECK(columns_at(150, 30, 179) == Places{3, 20});
  CHECK(columns_at(150, 30, 180) == Places{20, 41});
  CHECK(columns_at(127, 0, 3) == Places{});
}

TEST_CASE("gathered keys lie as if they alone had been packed, expanded where they do not stay pairs") {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    for (const bool pairs : {false, true}) {
      if (pairs && type != Type::bf16) continue;
      for (const auto& [dim, value_dim] : {std::pair{64, 64}, std::pair{7, 19}}) {
        const std::int64_t tokens = 45;
        const Places places{0, 1, 5, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 30, 44};
        const std::vector<float> keys = random_rows(tokens, dim, type, 1), values = random_rows(tokens, value_dim, type, 2);
        const CellShape shape{.head_dim = dim, .value_dim = value_dim, .type = type};
        Buffer cell(cell_bytes(Role::key_value, shape, tokens));
        pack_key_value(shape, Rows<const float>(keys.data(), tokens, 1, dim),
                       Rows<const float>(values.data(), tokens, 1, value_dim), 0, tokens, 0, cell.data());
        std::vector<float> some_keys, some_values;
        for (const std::int16_t place : places) {
          some_keys.insert(some_keys.end(), keys.begin() + place * dim, keys.begin() + (place + 1) * dim);
          some_values.insert(some_values.end(), values.begin() + place * value_dim, values.begin() + (place + 1) * value_dim);
        }
        const std::int64_t count = std::ssize(places);
        // A cell of bf16 has a whole number of pairs of dims, which is what is expanded.
        CellShape packed{.head_dim = static_cast<int>(cell_dims(shape)), .value_dim = value_dim, .type = pairs ? type : Type::f32};
        if (packed.head_dim != dim) {
          std::vector<float> wider;
          for (std::int64_t row = 0; row < count; ++row) {
            wider.insert(wider.end(), some_keys.begin() + row * dim, some_keys.begin() + (row + 1) * dim);
            wider.push_back(0);
          }
          some_keys = wider;
        }
        Buffer alone(cell_bytes(Role::key_value, packed, count));
        pack_key_value(packed, Rows<const float>(some_keys.data(), count, 1, packed.head_dim),
                       Rows<const float>(some_values.data(), count, 1, value_dim), 0, count, 0, alone.data());
        const ColumnLayout layout = column_layout(shape, count, pairs);
        Buffer gathered(layout.words * 4);
        gathered.fill(std::numeric_limits<float>::quiet_NaN());
        gather_columns(shape, cell.data(), tokens, places, pairs, gathered.floats());
        INFO(static_cast<int>(type) << (pairs ? " in pairs" : "") << ", dims " << dim << " and " << value_dim);
        const std::int64_t value_bytes = (layout.words - layout.key_words) * 4;
        CHECK(std::memcmp(gathered.data(), alone.data(), static_cast<std::size_t>(layout.key_words * 4)) == 0);
        CHECK(std::memcmp(gathered.data() + layout.key_words * 4,
                          alone.data() + value_offset_elements(packed, count) * type_bytes(packed.type),
                          static_cast<std::size_t>(value_bytes)) == 0);
      }
    }
  }
}

}  // namespace gyre::testing
