#include "partition/band_tile.hpp"

#include <algorithm>
#include <array>

#include "partition/band_algebra.hpp"

namespace gyre {
namespace {

/// Cover of a tile that the part of a band within it covers as told: `full`, or `partial` but not empty.
Cover cover_of_blocks(const Band& part, Cover strip, const TableAt& table, Range heads) {
  const Range rows{table.row_of(part.queries.begin), table.row_of(part.queries.end - 1) + 1};
  const Range inside = rows & Range{0, table.table.shape().rows};
  bool full = strip == Cover::full && inside == rows, any = false;
  for (std::int64_t row = inside.begin; row < inside.end && (full || !any); ++row) {
    const Band in_row = clipped(part, table.queries_of(row), part.keys);
    const Range reached = reach(in_row);
    if (reached.empty()) continue;
    const Range columns = table.columns_of(reached);
    full = full && table.table.all(heads, row, columns);
    std::int64_t column = any ? columns.end : table.table.first_visible(heads, row, columns);
    // Every key of a reach is seen, but for a modulus: then a block may lie between two diagonals.
    while (in_row.modulus > 1 && column < columns.end && clipped(in_row, in_row.queries, table.keys_of(column)).empty()) {
      column = table.table.first_visible(heads, row, {column + 1, columns.end});
    }
    any = any || column < columns.end;
  }
  return !any ? Cover::empty : full ? Cover::full : Cover::partial;
}

/// Of a 64 x 64 matrix of bits: by swapping ever smaller squares off the diagonal.
void transpose(std::array<std::uint64_t, 64>& rows) {
  std::uint64_t low = 0xffffffff;
  for (std::size_t half = 32; half != 0; half /= 2, low ^= low << half) {
    for (std::size_t row = 0; row < 64; row = ((row | half) + 1) & ~half) {
      const std::uint64_t moved = (rows[row] >> half ^ rows[row | half]) & low;
      rows[row] ^= moved << half;
      rows[row | half] ^= moved;
    }
  }
}

/// For 64 columns from the given one on: the lanes that the table shows them to.
std::array<std::uint64_t, 64> lanes_by_column(const TableAt& table, std::span<const std::int64_t> lanes,
                                              std::span<const std::int32_t> heads, std::int64_t column) {
  std::array<std::uint64_t, 64> words{};
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if (lanes[lane] != kNoPosition)
      words[lane] = table.table.word(heads.empty() ? 0 : heads[lane], table.row_of(lanes[lane]), column);
  }
  transpose(words);
  return words;
}

constexpr std::int64_t kPiece = 256;  // keys marked at once, so that the toggles fit on the stack

/// Modulus 1: toggle a lane's bit where its interval begins and where it ends; the running XOR over keys is then the set of lanes
/// that see the key. The marks of up to kPiece keys, from piece.begin on.
std::array<std::uint64_t, kPiece + 1> marks_of(const Band& band, std::span<const std::int64_t> lanes, Range piece) {
  std::array<std::uint64_t, kPiece + 1> marks{};
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    const Range interval = band.keys_of(lanes[lane]) & piece;
    if (interval.empty()) continue;
    marks[interval.begin - piece.begin] ^= std::uint64_t{1} << lane;
    marks[interval.end - piece.begin] ^= std::uint64_t{1} << lane;
  }
  for (std::int64_t key = 1; key < piece.size(); ++key) marks[key] ^= marks[key - 1];
  return marks;
}

void mark_intervals(const Band& band, std::span<const std::int64_t> lanes, Range seen, Range keys, std::span<std::uint64_t> out) {
  for (std::int64_t begin = seen.begin; begin < seen.end; begin += kPiece) {
    const Range piece{begin, std::min(begin + kPiece, seen.end)};
    const auto marks = marks_of(band, lanes, piece);
    for (std::int64_t key = 0; key < piece.size(); ++key) out[begin - keys.begin + key] |= marks[key];
  }
}

/// The same, and shown by the table: 64 of its columns at a time.
void mark_intervals(const Band& band, const TableAt& table, std::span<const std::int64_t> lanes,
                    std::span<const std::int32_t> heads, Range seen, Range keys, std::span<std::uint64_t> out) {
  for (std::int64_t begin = seen.begin, end = 0; begin < seen.end; begin = end) {
    const std::int64_t first_column = table.column_of(begin);
    end = std::min(seen.end, table.keys_of(first_column + 63).end);
    const auto shown = lanes_by_column(table, lanes, heads, first_column);
    for (std::int64_t from = begin; from < end; from += kPiece) {
      const Range piece{from, std::min(from + kPiece, end)};
      const auto marks = marks_of(band, lanes, piece);
      const Range columns = table.columns_of(piece);
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        const Range shared = table.keys_of(column) & piece;
        for (std::int64_t key = shared.begin; key < shared.end; ++key) {
          out[key - keys.begin] |= marks[key - from] & shown[column - first_column];
        }
      }
    }
  }
}

/// A lane's first key is the later one of two: that on the lowest diagonal, which is in the class, and its first in `seen`, of
/// which the distance to seen.begin goes up with the lane's position, modulo the modulus: neighbouring lanes need no division.
void mark_strided(const Band& band, const TableAt* table, std::span<const std::int64_t> lanes, std::span<const std::int32_t> heads,
                  Range seen, Range keys, std::span<std::uint64_t> out) {
  const auto reduced = [&](std::int64_t value) {
    return 0 <= value && value < band.modulus ? value : value - floor_divide(value, band.modulus) * band.modulus;
  };
  std::int64_t position = seen.begin - band.residue, distance = 0;
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if (!band.queries.contains(lanes[lane])) continue;
    distance = reduced(distance + lanes[lane] - position);
    position = lanes[lane];
    const std::int64_t end = std::min(seen.end, position + band.upper + 1);
    for (std::int64_t key = std::max(seen.begin + distance, position + band.lower); key < end; key += band.modulus) {
      const bool shown = table == nullptr || table->visible(heads.empty() ? 0 : heads[lane], position, key);
      if (shown) out[key - keys.begin] |= std::uint64_t{1} << lane;
    }
  }
}

}  // namespace

Cover cover_of(const Band& band, Range queries, Range keys, Range heads, std::int64_t first_query) {
  const Diagonals corners{keys.begin - (queries.end - 1), keys.end - 1 - queries.begin};
  const Band part = clipped(band, queries, keys);
  const Diagonals seen = diagonals_of(part);
  if (seen.empty()) return Cover::empty;
  const bool every_diagonal =
      seen.first == corners.first && seen.last == corners.last && (band.modulus == 1 || seen.first == seen.last);
  const Cover cover = every_diagonal && part.queries == queries && part.keys == keys ? Cover::full : Cover::partial;
  return band.blocks == nullptr ? cover : cover_of_blocks(part, cover, {*band.blocks, first_query}, heads);
}

void mark_band(const Band& band, std::span<const std::int64_t> lanes, Range queries, std::span<const std::int32_t> heads,
               std::int64_t first_query, Range keys, std::span<std::uint64_t> out) {
  const Range seen = reach(clipped(band, queries, keys));
  if (seen.empty()) return;
  if (band.blocks == nullptr)
    return band.modulus == 1 ? mark_intervals(band, lanes, seen, keys, out)
                             : mark_strided(band, nullptr, lanes, heads, seen, keys, out);
  const TableAt table{*band.blocks, first_query};
  return band.modulus == 1 ? mark_intervals(band, table, lanes, heads, seen, keys, out)
                           : mark_strided(band, &table, lanes, heads, seen, keys, out);
}

}  // namespace gyre
