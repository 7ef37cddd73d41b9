// One band over one tile: how much of it is visible, and the marks of its pairs. Internal to this room.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "partition/band_algebra.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// A table of blocks with row 0 at a position.
struct TableAt {
  const BlockTable& table;
  std::int64_t first_query;

  std::int64_t row_of(std::int64_t query) const { return floor_divide(query - first_query, table.shape().query_tokens); }
  std::int64_t column_of(std::int64_t key) const { return floor_divide(key, table.shape().key_tokens); }
  Range rows_of(Range queries) const { return {row_of(queries.begin), row_of(queries.end - 1) + 1}; }
  Range columns_of(Range keys) const { return {column_of(keys.begin), column_of(keys.end - 1) + 1}; }
  Range queries_of(std::int64_t row) const {
    return Range{row * table.shape().query_tokens, (row + 1) * table.shape().query_tokens} + first_query;
  }
  Range keys_of(Range columns) const { return {columns.begin * table.shape().key_tokens, columns.end * table.shape().key_tokens}; }
  bool visible(int head, std::int64_t query, std::int64_t key) const { return table.visible(head, row_of(query), column_of(key)); }
};

/// The bins of a table of diagonals that some j - i lie in.
inline Range bins_of(const BlockTable& table, Diagonals seen) {
  const std::int64_t bin = table.shape().key_tokens;
  return {floor_divide(-seen.last, bin), floor_divide(-seen.first, bin) + 1};
}

/// Visits the runs of keys that a table of diagonals shows to a query, within `keys`; neighbouring runs may come in two pieces.
template <class Visit>
void each_run(const BlockTable& table, int head, std::int64_t query, Range keys, Visit&& visit) {
  const std::int64_t bin = table.shape().key_tokens;
  const Range bins = bins_of(table, {keys.begin - query, keys.end - 1 - query}) & Range{0, table.shape().columns};
  for (std::int64_t first = bins.begin; first < bins.end; first += 64) {
    std::uint64_t word = table.word(head, 0, first);
    if (bins.end - first < 64) word &= (std::uint64_t{1} << (bins.end - first)) - 1;
    while (word != 0) {
      const int begin = std::countr_zero(word), end = begin + std::countr_one(word >> begin);
      visit(Range{query - (first + end) * bin + 1, query - (first + begin) * bin + 1} & keys);
      word = end == 64 ? 0 : word & ~std::uint64_t{0} << end;
    }
  }
}

/// Visits the runs of keys that one row of a table of blocks shows to a head, ascending; a run may come in pieces.
template <class Visit>
void each_run(const TableAt& table, int head, std::int64_t row, Range keys, Visit&& visit) {
  if (keys.empty()) return;
  const Range columns = table.columns_of(keys) & Range{0, table.table.shape().columns};
  for (std::int64_t first = columns.begin; first < columns.end; first += 64) {
    std::uint64_t word = table.table.word(head, row, first);
    while (word != 0) {
      const int begin = std::countr_zero(word), end = begin + std::countr_one(word >> begin);
      const Range run = table.keys_of({first + begin, first + end}) & keys;
      if (!run.empty()) visit(run);
      word = end == 64 ? 0 : word & ~std::uint64_t{0} << end;
    }
  }
}

/// Whether the band's tables, if it has some, show the pair.
bool shown_by_tables(const Band& band, std::int64_t first_query, int head, std::int64_t query, std::int64_t key);

/// What the band sees of the tile. Empty and full are exact. heads: of the tables, for which full is full for all, empty for all.
Cover cover_of(const Band& band, Range queries, Range keys, Range heads, std::int64_t first_query);

/// Keys marked at once, so that toggles fit on the stack.
inline constexpr std::int64_t kMarkedKeys = 256;

/// Lanes of a tile, as Bands::mark has them.
struct LaneSet {
  std::span<const std::int64_t> positions;
  std::span<const std::int32_t> heads;
  Range queries;             // holds every lane's
  bool consecutive = false;  // lane k is at queries.begin + k up to queries.end, others nowhere; all are of one head

  LaneSet(std::span<const std::int64_t> positions, std::span<const std::int32_t> heads);
  int head_of(std::size_t lane) const { return heads.empty() ? 0 : heads[lane]; }
};

/// Bands::mark of one band in normal form: bits are added to `out`, which begins with the first of `keys`.
void mark_band(const Band& band, const LaneSet& lanes, std::int64_t first_query, Range keys, std::span<std::uint64_t> out);

}  // namespace gyre
