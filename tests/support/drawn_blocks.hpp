// Block tables that a file's name alone draws, so that an expression with blocks in it can be evaluated without any table.
#pragma once

#include <cstdint>
#include <cstdio>
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

inline BlockTable drawn_table(const std::string& name, std::int64_t block_tokens) {
  const DrawnBlocks drawn = DrawnBlocks::named(name);
  std::vector<std::uint8_t> cells;
  for (int head = 0; head < drawn.heads; ++head) {
    for (std::int64_t row = 0; row < drawn.rows; ++row) {
      for (std::int64_t column = 0; column < drawn.columns; ++column)
        cells.push_back(static_cast<std::uint8_t>(drawn.visible(head, row, column) ? 1 + column % 255 : 0));
    }
  }
  return BlockTable({.block_tokens = block_tokens, .heads = drawn.heads, .rows = drawn.rows, .columns = drawn.columns}, cells);
}

inline const MaskFiles& drawn_files() {
  static const MaskFiles files{.lengths = {}, .blocks = drawn_table};
  return files;
}

}  // namespace gyre::test
