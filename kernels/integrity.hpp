// Checksums of cells: a trailer of kTrailerBytes behind the cell, for links and memory that may flip bits.
//
// The trailer holds the XXH3-64 of the bytes before it (github.com/Cyan4973/xxHash), 8 bytes, little endian, and zeros. The hash is
// seeded with what the cell is, so that a right cell in another one's place is found too. A flipped bit anywhere in the cell,
// trailer included, is always found but for a chance of 2^-64. Of an old cell of the same name, from the call before, nothing is
// said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cell.hpp"

namespace gyre {

/// Which cell it is.
struct CellName {
  Role role = Role::key_value;
  std::uint32_t unit = 0;
  std::uint16_t head = 0;
};

/// Writes the trailer: the last kTrailerBytes of `cell`, which is all of it. Of an empty cell, nothing.
void seal_cell(const CellName& name, std::span<std::byte> cell);

/// Whether every byte of the cell is what was sealed under that name.
bool verify_cell(const CellName& name, std::span<const std::byte> cell);

}  // namespace gyre
