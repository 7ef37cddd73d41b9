// Tables and slices that a file's name alone draws, so that an expression with them in it can be evaluated without any table.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "partition/mask.hpp"

namespace gyre::test {

/// "drawn SEED HEADS ROWS COLUMNS".
struct DrawnBlocks {
  std::uint64_t seed = 0;
  int heads = 1;
  std::int64_t rows = 0, columns = 0;

  /// Sparse, half or dense by seed; some rows are all visible, some all invisible. Not outside of the table.
  bool visible(int head, std::int64_t row, std::int64_t column) const {
    if (row < 0 || row >= rows || column < 0 || column >= columns) return false;
    const auto own_head = static_cast<std::uint64_t>(heads == 1 ? 0 : head);
    const std::uint64_t of_row = mixed(mixed(seed * 131 + own_head) + static_cast<std::uint64_t>(row));
    if (of_row % 8 < 2) return of_row % 8 == 0;
    const std::uint64_t share[] = {15, 50, 85};
    return mixed(of_row + static_cast<std::uint64_t>(column)) % 100 < share[seed % 3];
  }
  std::string name() const {
    return "drawn " + std::to_string(seed) + ' ' + std::to_string(heads) + ' ' + std::to_string(rows) + ' ' +
           std::to_string(columns);
  }
  static DrawnBlocks named(const std::string& name) {
    unsigned long long seed = 0;
    int heads = 0;
    long long rows = 0, columns = 0;
    if (std::sscanf(name.c_str(), "drawn %llu %d %lld %lld", &seed, &heads, &rows, &columns) != 4)
      throw std::invalid_argument(name + " draws no blocks");
    return {seed, heads, rows, columns};
  }

 private:
  static std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  }
};

inline BlockTable drawn_table(const std::string& name, std::int64_t query_tokens, std::int64_t key_tokens) {
  const DrawnBlocks drawn = DrawnBlocks::named(name);
  std::vector<std::uint8_t> cells;
  for (int head = 0; head < drawn.heads; ++head) {
    for (std::int64_t row = 0; row < drawn.rows; ++row) {
      for (std::int64_t column = 0; column < drawn.columns; ++column)
        cells.push_back(static_cast<std::uint8_t>(drawn.visible(head, row, column) ? 1 + column % 255 : 0));
    }
  }
  const BlockShape shape{
      .query_tokens = query_tokens, .key_tokens = key_tokens, .heads = drawn.heads, .rows = drawn.rows, .columns = drawn.columns};
  return BlockTable(shape, cells);
}
inline BlockTable drawn_table(const std::string& name, std::int64_t block_tokens) {
  return drawn_table(name, block_tokens, block_tokens);
}

/// "slices SEED COUNT QUERIES KEYS": rectangles of any size within so many tokens, some of them empty.
struct DrawnSlices {
  std::uint64_t seed = 0;
  std::int64_t count = 0, queries = 0, keys = 0;

  std::vector<Slice> all() const {
    std::mt19937_64 random(seed);
    const auto range = [&](std::int64_t tokens) {
      const auto border = [&] { return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(tokens + 1)); };
      const std::int64_t a = border(), b = border();
      return Range{std::min(a, b), std::max(a, b)};
    };
    std::vector<Slice> slices;
    for (std::int64_t slice = 0; slice < count; ++slice)
      slices.push_back({range(queries), range(keys), static_cast<SliceKind>(random() % 4)});
    return slices;
  }
  std::string name() const {
    return "slices " + std::to_string(seed) + ' ' + std::to_string(count) + ' ' + std::to_string(queries) + ' ' +
           std::to_string(keys);
  }
  static DrawnSlices named(const std::string& name) {
    unsigned long long seed = 0;
    long long count = 0, queries = 0, keys = 0;
    if (std::sscanf(name.c_str(), "slices %llu %lld %lld %lld", &seed, &count, &queries, &keys) != 4)
      throw std::invalid_argument(name + " draws no slices");
    return {seed, count, queries, keys};
  }
};

inline const MaskFiles& drawn_files() {
  static const MaskFiles files{
      .lengths = {},
      .blocks = [](const std::string& name, std::int64_t query_tokens,
                   std::int64_t key_tokens) { return drawn_table(name, query_tokens, key_tokens); },
      .rows = [](const std::string& name, std::int64_t key_tokens) { return drawn_table(name, kEveryQuery, key_tokens); },
      .slices = [](const std::string& name) { return DrawnSlices::named(name).all(); }};
  return files;
}

}  // namespace gyre::test
