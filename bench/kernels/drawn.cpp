#include "bench/kernels/drawn.hpp"

#include <algorithm>
#include <charconv>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace gyre::bench {
namespace {

template <class Number>
Number number_of(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 0)
    throw std::invalid_argument("'" + text + "' is no number of what is to be drawn: blocks(0.05,64), columns(1000), " +
                                "diagonals(40,64), slices(64), or blocks(each 0.05,64) and so on for each query head");
  return number;
}

/// "0.05": the same for every query head; "each 0.05": drawn for each of them.
template <class Number>
struct Wanted {
  Number number{};
  int heads = 1;

  Wanted(const std::string& text, const Shape& shape) {
    const std::string each = "each ";
    const bool for_each = text.starts_with(each);
    number = number_of<Number>(for_each ? text.substr(each.size()) : text);
    if (for_each) heads = shape.query_heads();
  }
};

std::int64_t blocks_in(std::int64_t tokens, std::int64_t block) {
  return (tokens + block - 1) / block;
}

BlockTable drawn_blocks(const Shape& shape, const Wanted<double>& share, std::int64_t query_tokens, std::int64_t key_tokens) {
  const std::int64_t rows = blocks_in(shape.query_tokens(), query_tokens), columns = blocks_in(shape.keys, key_tokens);
  std::mt19937_64 random(11);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(share.heads * rows * columns));
  for (std::uint8_t& cell : cells) cell = std::bernoulli_distribution(share.number)(random) ? 1 : 0;
  return BlockTable(
      {.query_tokens = query_tokens, .key_tokens = key_tokens, .heads = share.heads, .rows = rows, .columns = columns}, cells);
}

/// So many of a row's cells, of which the first `near` are always there.
BlockTable drawn_row(const Shape& shape, const Wanted<std::int64_t>& wanted, std::int64_t key_tokens, std::int64_t near) {
  const std::int64_t columns = blocks_in(shape.keys, key_tokens), count = std::min(wanted.number, columns);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(wanted.heads * columns));
  std::mt19937_64 random(12);
  for (auto row = cells.begin(); row != cells.end(); row += columns) {
    std::fill_n(row, count, std::uint8_t{1});
    std::shuffle(row + std::min(near, count), row + columns, random);
  }
  return BlockTable({.query_tokens = kEveryQuery, .key_tokens = key_tokens, .heads = wanted.heads, .rows = 1, .columns = columns},
                    cells);
}

std::vector<Slice> drawn_slices(const Shape& shape, std::int64_t count) {
  std::mt19937_64 random(13);
  const std::int64_t width = std::max<std::int64_t>(1, shape.keys / 8);
  std::vector<Slice> slices;
  for (std::int64_t piece = 0; piece < count; ++piece) {
    const std::int64_t begin = std::uniform_int_distribution<std::int64_t>(0, shape.keys - width)(random);
    slices.push_back({{piece * shape.query_tokens() / count, (piece + 1) * shape.query_tokens() / count},
                      {begin, begin + width},
                      static_cast<SliceKind>(piece % 4)});
  }
  return slices;
}

}  // namespace

MaskFiles drawn_files(const Shape& shape) {
  return {.lengths = {},
          .blocks =
              [shape](const std::string& share, std::int64_t query_tokens, std::int64_t key_tokens) {
                return drawn_blocks(shape, {share, shape}, query_tokens, key_tokens);
              },
          .rows =
              [shape](const std::string& count, std::int64_t key_tokens) {
                return drawn_row(shape, {count, shape}, key_tokens, key_tokens == 1 ? 0 : 2);
              },
          .slices = [shape](const std::string& count) { return drawn_slices(shape, number_of<std::int64_t>(count)); }};
}

}  // namespace gyre::bench
