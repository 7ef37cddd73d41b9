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
                                "diagonals(40,64), slices(64)");
  return number;
}

std::int64_t blocks_in(std::int64_t tokens, std::int64_t block) {
  return (tokens + block - 1) / block;
}

BlockTable drawn_blocks(const Shape& shape, double share, std::int64_t query_tokens, std::int64_t key_tokens) {
  const std::int64_t rows = blocks_in(shape.query_tokens(), query_tokens), columns = blocks_in(shape.keys, key_tokens);
  std::mt19937_64 random(11);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(rows * columns));
  for (std::uint8_t& cell : cells) cell = std::bernoulli_distribution(share)(random) ? 1 : 0;
  return BlockTable({.query_tokens = query_tokens, .key_tokens = key_tokens, .rows = rows, .columns = columns}, cells);
}

/// So many of a row's cells, of which the first `near` are always there.
BlockTable drawn_row(const Shape& shape, std::int64_t count, std::int64_t key_tokens, std::int64_t near) {
  const std::int64_t columns = blocks_in(shape.keys, key_tokens);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(columns));
  count = std::min(count, columns);
  std::fill_n(cells.begin(), count, std::uint8_t{1});
  std::mt19937_64 random(12);
  std::shuffle(cells.begin() + std::min(near, count), cells.end(), random);
  return BlockTable({.query_tokens = kEveryQuery, .key_tokens = key_tokens, .rows = 1, .columns = columns}, cells);
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
                return drawn_blocks(shape, number_of<double>(share), query_tokens, key_tokens);
              },
          .rows =
              [shape](const std::string& count, std::int64_t key_tokens) {
                return drawn_row(shape, number_of<std::int64_t>(count), key_tokens, key_tokens == 1 ? 0 : 2);
              },
          .slices = [shape](const std::string& count) { return drawn_slices(shape, number_of<std::int64_t>(count)); }};
}

}  // namespace gyre::bench
