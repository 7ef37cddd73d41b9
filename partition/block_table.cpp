#include "partition/block_table.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <stdexcept>
#include <string>

namespace gyre {
namespace {

constexpr std::int64_t kWordBits = 64;

std::string to_string(const BlockShape& shape) {
  const std::string queries = shape.query_tokens == kEveryQuery ? "all" : std::to_string(shape.query_tokens);
  return '[' + std::to_string(shape.heads) + ", " + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) +
         "] of blocks of " + queries + " x " + std::to_string(shape.key_tokens) + " tokens";
}

void require_shape(const BlockShape& shape) {
  for (const std::int64_t tokens : {shape.query_tokens, shape.key_tokens}) {  // positions of blocks are to fit in 64 bits
    if (tokens < 1 || tokens > kEveryQuery)
      throw std::invalid_argument("a block has " + std::to_string(tokens) + " tokens: it must have 1 to 2^40");
  }
  if (shape.heads < 1 || shape.rows < 0 || shape.columns < 0) {
    throw std::invalid_argument("a block table is " + to_string(shape) +
                                ": it must have at least 1 head and no negative number of rows or columns");
  }
  const __int128 row_bits = (static_cast<__int128>(shape.columns) + kWordBits - 1) / kWordBits * kWordBits;
  const __int128 planes = shape.heads == 1 ? 1 : shape.heads + 1;
  if (row_bits * shape.rows > BlockTable::kMostBits / planes) {
    throw std::invalid_argument("a block table is " + to_string(shape) + ", more than 2^34 bits: use longer blocks, or combine " +
                                "tables whose block lengths divide each other");
  }
}

/// Bits [from, to) of a word, 0 <= from < to <= 64.
std::uint64_t bits(std::int64_t from, std::int64_t to) {
  return (~std::uint64_t{0} >> (kWordBits - (to - from))) << from;
}

/// Visits the columns of a row as (first column of a word, the word without others, mask of the columns in it); false stops.
template <class Visit>
void each_word(const std::uint64_t* words, Range columns, Visit&& visit) {
  for (std::int64_t begin = columns.begin; begin < columns.end;) {
    const std::int64_t first = begin / kWordBits * kWordBits, end = std::min(columns.end, first + kWordBits);
    const std::uint64_t mask = bits(begin - first, end - first);
    if (!visit(first, words[first / kWordBits] & mask, mask)) return;
    begin = end;
  }
}

}  // namespace

BlockTable::BlockTable(BlockShape shape) : shape_(shape) {
  require_shape(shape);
  row_words_ = (shape.columns + kWordBits - 1) / kWordBits;
  words_.assign(static_cast<std::size_t>((shape.heads == 1 ? 1 : shape.heads + 1) * shape.rows * row_words_), 0);
}

BlockTable::BlockTable(BlockShape shape, std::span<const std::uint8_t> cells) : BlockTable(shape) {
  if (static_cast<__int128>(cells.size()) != static_cast<__int128>(shape.heads) * shape.rows * shape.columns) {
    throw std::invalid_argument("a block table " + to_string(shape) + " is given " + std::to_string(cells.size()) +
                                " cells: give one for each head, row and column");
  }
  const auto columns = static_cast<std::size_t>(shape.columns);
  for (int head = 0; head < shape.heads; ++head) {
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      show(head, row, cells.subspan(static_cast<std::size_t>(head * shape.rows + row) * columns, columns));
    }
  }
}

void BlockTable::require_row(int head, std::int64_t row, bool fits, std::int64_t given, const char* of) const {
  if (head >= 0 && head < shape_.heads && row >= 0 && row < shape_.rows && fits) return;
  throw std::invalid_argument("row " + std::to_string(row) + " of head " + std::to_string(head) + " with " + std::to_string(given) +
                              ' ' + of + " is not one of a block table " + to_string(shape_));
}

void BlockTable::show(int head, std::int64_t row, std::span<const std::uint8_t> cells) {
  require_row(head, row, std::ssize(cells) == shape_.columns, std::ssize(cells), "columns");
  std::vector<std::uint64_t> words(static_cast<std::size_t>(row_words_));
  for (std::int64_t column = 0; column < shape_.columns; ++column) {
    words[static_cast<std::size_t>(column / kWordBits)] |= std::uint64_t{cells[column] != 0} << column % kWordBits;
  }
  show(head, row, words);
}

void BlockTable::show(int head, std::int64_t row, std::span<const std::uint64_t> given) {
  const std::int64_t spare = row_words_ * kWordBits - shape_.columns;  // bits behind the last column
  require_row(head, row, std::ssize(given) == row_words_, std::ssize(given), "words");
  require_row(head, row, spare == 0 || given.back() >> (kWordBits - spare) == 0, std::ssize(given),
              "words, bits behind its last column among them,");
  std::uint64_t* const words = row_words(head, row);
  for (std::int64_t word = 0; word < row_words_; ++word) words[word] |= given[word];
  if (shape_.heads == 1) return;
  std::uint64_t* const any = row_words(shape_.heads, row);
  for (std::int64_t word = 0; word < row_words_; ++word) any[word] |= given[word];
}

void BlockTable::find_any() {
  for (std::int64_t row = 0; row < shape_.rows; ++row) {
    std::uint64_t* const any = row_words(shape_.heads, row);
    std::fill_n(any, row_words_, std::uint64_t{0});
    for (int head = 0; head < shape_.heads; ++head) {
      for (std::int64_t word = 0; word < row_words_; ++word) any[word] |= row_words(head, row)[word];
    }
  }
}

bool BlockTable::visible(int head, std::int64_t row, std::int64_t column) const {
  if (row < 0 || row >= shape_.rows || column < 0 || column >= shape_.columns) return false;
  return (row_words(plane(head), row)[column / kWordBits] >> column % kWordBits & 1) != 0;
}

std::uint64_t BlockTable::word(int head, std::int64_t row, std::int64_t column) const {
  if (row < 0 || row >= shape_.rows || column >= shape_.columns || column <= -kWordBits) return 0;
  const std::uint64_t* const words = row_words(plane(head), row);
  if (column < 0) return row_words_ == 0 ? 0 : words[0] << -column;
  const std::int64_t index = column / kWordBits, shift = column % kWordBits;
  const std::uint64_t high = shift != 0 && index + 1 < row_words_ ? words[index + 1] << (kWordBits - shift) : 0;
  return words[index] >> shift | high;
}

std::int64_t BlockTable::first_visible(Range heads, std::int64_t row, Range columns) const {
  const Range inside = columns & Range{0, shape_.columns};
  if (row < 0 || row >= shape_.rows) return columns.end;
  const bool everyone = shape_.heads > 1 && heads.contains(Range{0, shape_.heads});
  const Range planes = shape_.heads == 1 ? Range{0, 1} : everyone ? Range{shape_.heads, shape_.heads + 1} : heads;
  std::int64_t first = columns.end;
  for (std::int64_t plane = planes.begin; plane < planes.end; ++plane) {
    each_word(row_words(static_cast<int>(plane), row), {inside.begin, std::min(inside.end, first)},
              [&](std::int64_t column, std::uint64_t word, std::uint64_t) {
                if (word != 0) first = column + std::countr_zero(word);
                return word == 0;
              });
  }
  return first;
}

bool BlockTable::alike(int together) const {
  if (shape_.heads == 1) return true;
  const std::int64_t plane_words = shape_.rows * row_words_;
  const auto plane_at = [&](std::int64_t head) { return words_.begin() + head * plane_words; };
  for (std::int64_t head = 0; head < shape_.heads; ++head) {
    const std::int64_t first = head - head % together;
    if (head != first && !std::equal(plane_at(head), plane_at(head + 1), plane_at(first))) return false;
  }
  return true;
}

bool BlockTable::all(Range heads, std::int64_t row, Range columns) const {
  if (row < 0 || row >= shape_.rows || !Range{0, shape_.columns}.contains(columns)) return false;
  const Range planes = shape_.heads == 1 ? Range{0, 1} : heads;
  bool full = true;
  for (std::int64_t plane = planes.begin; plane < planes.end && full; ++plane) {
    each_word(row_words(static_cast<int>(plane), row), columns,
              [&](std::int64_t, std::uint64_t word, std::uint64_t mask) { return full = word == mask; });
  }
  return full;
}

std::int64_t BlockTable::count(int head, std::int64_t row, Range columns) const {
  columns = columns & Range{0, shape_.columns};
  if (row < 0 || row >= shape_.rows) return 0;
  std::int64_t blocks = 0;
  each_word(row_words(plane(head), row), columns, [&](std::int64_t, std::uint64_t word, std::uint64_t) {
    blocks += std::popcount(word);
    return true;
  });
  return blocks;
}

BlockTable operator&(const BlockTable& a, const BlockTable& b) {
  const BlockShape left = a.shape(), right = b.shape();
  if (left.heads != right.heads && left.heads != 1 && right.heads != 1) {
    throw std::invalid_argument("block tables of " + std::to_string(left.heads) + " and of " + std::to_string(right.heads) +
                                " heads are combined: give both one head, or the same number");
  }
  const auto shared = [](std::int64_t a_tokens, std::int64_t b_tokens) {
    if (a_tokens == kEveryQuery || b_tokens == kEveryQuery) return std::min(a_tokens, b_tokens);
    return std::gcd(a_tokens, b_tokens);
  };
  // Blocks of the result in one of an operand; of one that holds every query: all.
  const auto steps = [](std::int64_t tokens, std::int64_t block) {
    return tokens == kEveryQuery && block != kEveryQuery ? BlockTable::kMostBits + 1 : tokens / block;
  };
  const std::int64_t query_block = shared(left.query_tokens, right.query_tokens),
                     key_block = shared(left.key_tokens, right.key_tokens);
  const std::int64_t left_rows = steps(left.query_tokens, query_block), right_rows = steps(right.query_tokens, query_block);
  const std::int64_t left_step = steps(left.key_tokens, key_block), right_step = steps(right.key_tokens, key_block);
  const auto extent = [](std::int64_t a_blocks, std::int64_t a_step, std::int64_t b_blocks, std::int64_t b_step) {
    const __int128 most = std::min(static_cast<__int128>(a_blocks) * a_step, static_cast<__int128>(b_blocks) * b_step);
    return static_cast<std::int64_t>(std::min<__int128>(most, BlockTable::kMostBits + 1));
  };
  BlockTable both({.query_tokens = query_block,
                   .key_tokens = key_block,
                   .heads = std::max(left.heads, right.heads),
                   .rows = extent(left.rows, left_rows, right.rows, right_rows),
                   .columns = extent(left.columns, left_step, right.columns, right_step)});
  if (left == right) {
    both.words_ = a.words_;
    for (std::size_t word = 0; word < both.words_.size(); ++word) both.words_[word] &= b.words_[word];
    if (left.heads > 1) both.find_any();
    return both;
  }
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(both.shape().columns));
  for (int head = 0; head < both.shape().heads; ++head) {
    for (std::int64_t row = 0; row < both.shape().rows; ++row) {
      for (std::int64_t column = 0; column < both.shape().columns; ++column) {
        cells[column] =
            a.visible(head, row / left_rows, column / left_step) && b.visible(head, row / right_rows, column / right_step);
      }
      both.show(head, row, cells);
    }
  }
  return both;
}

}  // namespace gyre
