// Block tables: which blocks of queries see which blocks of keys, for each query head or for all.
//
//   blocks of 2 x 2 tokens, rows = 2, columns = 3
//                         columns  0     1     2
//     1 0 1          rows 0   x x   . .   x x      query rows 0 and 1 see keys 0, 1, 4 and 5
//     0 1 0               1   . .   x x   . .      query rows 2 and 3 see keys 2 and 3
//
// A row is one of query tokens, counted from the first query and not from the first key: query token t lies in row t /
// query_tokens. Blocks need not be square: of one query each (what tokens select for themselves), or of every query, by keys
// ("columns"). What lies outside of the table is invisible.
//
// A table of one row also tells diagonals: its columns are then bins of i - j, and i >= j where one is visible (bands.hpp).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partition/units.hpp"

namespace gyre {

/// As many tokens as a block may have: one such block holds every query there can be.
inline constexpr std::int64_t kEveryQuery = std::int64_t{1} << 40;

struct BlockShape {
  std::int64_t query_tokens = 1;  // of a block
  std::int64_t key_tokens = 1;    // of a block; of diagonals: of a bin
  int heads = 1;                  // 1: the same for every query head
  std::int64_t rows = 0;          // ceil(all query tokens / query_tokens)
  std::int64_t columns = 0;       // ceil(all key tokens / key_tokens)
  bool operator==(const BlockShape&) const = default;
};

/// One bit for each (head, row, column). Filled row by row, then shared and never changed.
class BlockTable {
 public:
  static constexpr std::int64_t kMostBits = std::int64_t{1} << 34;  // 2 GiB

  /// All invisible. Throws std::invalid_argument on a block or a number of heads below 1, a negative extent, or more than
  /// kMostBits.
  explicit BlockTable(BlockShape shape);
  /// cells: [heads, rows, columns], visible where not zero. Throws std::invalid_argument on another size.
  BlockTable(BlockShape shape, std::span<const std::uint8_t> cells);

  /// Makes blocks of one row visible where `cells`, [columns], is not zero; what was visible stays so.
  void show(int head, std::int64_t row, std::span<const std::uint8_t> cells);
  /// Likewise where bits are set: column c is bit c mod 64 of word c div 64, and there are no others.
  void show(int head, std::int64_t row, std::span<const std::uint64_t> words);

  const BlockShape& shape() const { return shape_; }
  bool visible(int head, std::int64_t row, std::int64_t column) const;
  /// 64 columns of a row from `column` on, the first in the lowest bit; 0 outside of the table.
  std::uint64_t word(int head, std::int64_t row, std::int64_t column) const;

  /// The first column that is visible for one of the heads, columns.end if none is.
  std::int64_t first_visible(Range heads, std::int64_t row, Range columns) const;
  bool all(Range heads, std::int64_t row, Range columns) const;         // for every head; false outside of the table
  std::int64_t count(int head, std::int64_t row, Range columns) const;  // visible blocks
  bool alike(int together) const;                                       // for each run of so many heads
  std::span<const std::uint64_t> words() const { return words_; }       // all that it says, beside its shape

  bool operator==(const BlockTable&) const = default;
  /// The blocks visible in both, at the greatest common divisors of their lengths (a block of every query is divided by any). A
  /// table of one head serves every head of the other. Throws std::invalid_argument on heads that differ otherwise, and where the
  /// result would pass kMostBits.
  friend BlockTable operator&(const BlockTable& a, const BlockTable& b);

 private:
  std::uint64_t* row_words(int plane, std::int64_t row) { return words_.data() + (plane * shape_.rows + row) * row_words_; }
  const std::uint64_t* row_words(int plane, std::int64_t row) const {
    return words_.data() + (plane * shape_.rows + row) * row_words_;
  }
  void require_row(int head, std::int64_t row, bool fits, std::int64_t given, const char* of) const;
  void find_any();  // fills the plane of any head
  int plane(int head) const { return shape_.heads == 1 ? 0 : head; }

  BlockShape shape_;
  std::int64_t row_words_ = 0;
  std::vector<std::uint64_t> words_;  // [heads, rows, row_words_], then [rows, row_words_] of any head if there is more than one
};

}  // namespace gyre
