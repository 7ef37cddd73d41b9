// Columns: keys of a unit that a mask shows to every query, scattered among others, gathered side by side.
//
// A panel of 8 keys costs the same whether rows see one of them or all. Where a table of columns shows few keys of a unit, far
// apart, these are copied next to each other and become a part of the unit with a maximum, chains and a fold of its own, before
// the rest, in which nobody sees them:
//
//   keys of the unit   . . x . . . . .   . . . . . . x .   . . . x . . . .      three panels with one key each
//   gathered           x x x                                                    one panel with three
//
// Which keys are gathered is decided by bands, the row of the table that a query stands in, unit and key/value head alone, never by
// the rows that sit together in a block: so the order in which a row adds up is the same however queries and keys are shared out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cell.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// Blocks of a table of columns: a panel is 8 keys, which kernels skip or take together, and copying a key takes about as long as
/// attending it by 64 queries.
inline constexpr Bands::ColumnBlocks kColumns{.least_queries = 128, .most_keys = 7};

/// The places in a unit of the keys that are gathered for this query, ascending; none unless at least half of the panels are saved
/// by it.
std::vector<std::int16_t> columns_of(const Bands& bands, std::int64_t query, Range query_heads, Range unit);

/// How long units should be for the sake of columns: the few of a short unit do not pay for a fold of their own. 0: no matter.
std::int64_t unit_tokens_for_columns(const Bands& bands);

/// What the gathered keys and values of a unit take in words, with 0 past their end: keys `[count / 16][words][16]`, then values
/// `[value_dim / 8][rows of words of count to 16][8]`, as Tile has them.
struct ColumnLayout {
  std::int64_t key_words = 0;
  std::int64_t words = 0;
};
/// pairs: words are of two bf16, as cells have them; else they are fp32.
ColumnLayout column_layout(const CellShape& shape, std::int64_t count, bool pairs);

/// Copies the keys at these places of a cell of so many tokens, and expands them to fp32 unless they stay pairs or are so already.
void gather_columns(const CellShape& shape, const std::byte* cell, std::int64_t tokens, std::span<const std::int16_t> places,
                    bool pairs, float* to);

}  // namespace gyre
