// Marks of one band over the keys of a unit in residue order. Internal to this room.
#pragma once

#include <cstdint>
#include <span>

#include "partition/band_tile.hpp"
#include "partition/residues.hpp"

namespace gyre {

/// Whether a lane sees neighbours in that order: then mark_classes is for the band, else mark_band and add_at_places.
inline bool sees_one_class(const Band& band, ResidueOrder order) {
  return band.modulus == order.stride && band.blocks == nullptr && band.diagonals == nullptr;
}

/// Adds what lanes see of the keys of a unit to the words at their places; each sees some of one class. Returns places outside of
/// which none were added.
Range mark_classes(const Band& band, const LaneSet& lanes, Range unit, ResidueOrder order, std::uint64_t* out);

/// Adds the marks of some tokens of a unit of so many to those at their places.
void add_at_places(std::span<const std::uint64_t> marks, std::int64_t first_token, std::int64_t tokens, ResidueOrder order,
                   std::uint64_t* out);

}  // namespace gyre
