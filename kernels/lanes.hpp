// What the lanes of a block of query rows are, and which keys each of them sees.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/dispatch.hpp"
#include "partition/bands.hpp"

namespace gyre {

inline constexpr int kMostLanes = Tile::kMostStrips * kStrip;

/// Rows of a block: where they stand.
struct Lanes {
  std::array<std::int64_t, kMostLanes> positions;  // kNoPosition past the end of a cell
  std::array<std::int32_t, kMostLanes> heads;      // query heads; past the end of a cell any
  Range hull{kNoPosition, -kNoPosition};           // of the positions
  Range head_hull{kNoPosition, -kNoPosition};      // of the heads that have rows
  int count = 0;

  /// Appends strip `strip` of a key/value head's query cell at these positions.
  void append(const CellShape& shape, int key_head, Range cell, std::int64_t strip);
  /// Those that stand in this range and are of one of these heads, a bit each.
  std::uint64_t within(Range range, Range some_heads) const;
};

/// What the lanes see of a unit of keys.
struct Sight {
  Cover cover = Cover::empty;
  const std::uint64_t* visible = nullptr;  // as in Tile
  Range strips;                            // of keys, from the first to the last that some lane sees
};

/// scratch: a word for each key of the unit, rounded up to whole strips. Allocates nothing.
Sight sight_of(const Bands& bands, const Lanes& lanes, Range keys, ResidueOrder order, std::span<std::uint64_t> scratch);

/// Takes the keys at these places of a unit of so many keys out of what some rows, a bit each, see of it, and returns what is left;
/// their words go to `taken`, unless that is empty. scratch: as sight_of got it.
Sight take_out(const Sight& sight, int lanes, std::uint64_t rows, std::int64_t keys, std::span<const std::int16_t> places,
               std::span<std::uint64_t> scratch, std::span<std::uint64_t> taken);

}  // namespace gyre
