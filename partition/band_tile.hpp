// One band over one tile: how much of it is visible, and the marks of its pairs. Internal to this room.
#pragma once

#include <cstdint>
#include <span>

#include "partition/bands.hpp"

namespace gyre {

/// A table of blocks with row 0 at a position.
struct TableAt {
  const BlockTable& table;
  std::int64_t first_query;

  std::int64_t block() const { return table.shape().block_tokens; }
  std::int64_t row_of(std::int64_t query) const { return floor_divide(query - first_query, block()); }
  std::int64_t column_of(std::int64_t key) const { return floor_divide(key, block()); }
  Range columns_of(Range keys) const { return {column_of(keys.begin), column_of(keys.end - 1) + 1}; }
  Range queries_of(std::int64_t row) const { return Range{row * block(), (row + 1) * block()} + first_query; }
  Range keys_of(std::int64_t column) const { return {column * block(), (column + 1) * block()}; }
  bool visible(int head, std::int64_t query, std::int64_t key) const { return table.visible(head, row_of(query), column_of(key)); }
};

/// What the band sees of the tile. Empty and full are exact. heads: of the table, for which full is full for all, empty for all.
Cover cover_of(const Band& band, Range queries, Range keys, Range heads, std::int64_t first_query);

/// Bands::mark of one band in normal form: bits are added to `out`. queries: holds every lane's.
void mark_band(const Band& band, std::span<const std::int64_t> lanes, Range queries, std::span<const std::int32_t> heads,
               std::int64_t first_query, Range keys, std::span<std::uint64_t> out);

}  // namespace gyre
