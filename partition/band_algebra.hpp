// The algebra of single bands, which the set of bands is built from: rectangles and strips; tables of blocks are carried along and
// compared, not looked into. Internal to this room.
//
// All of it stands on one fact: between the diagonals of a rectangle's two outer corners, every diagonal d = j - i meets the
// rectangle in at least one pair. So what a band sees of a rectangle is told by its first and its last diagonal in there:
//
//   queries [0,4) x keys [0,6):  the corners lie on d = -3 and d = 5
//   band lower -1, upper 9, modulus 3, residue 1:  first 1, last 4, that is the diagonals 1 and 4
#pragma once

#include <cstdint>
#include <vector>

#include "partition/bands.hpp"

namespace gyre {

/// Diagonals of one residue class, from first to last, both in the class.
struct Diagonals {
  std::int64_t first = 0;
  std::int64_t last = -1;
  bool empty() const { return last < first; }
};

/// The diagonals of the band that meet its rectangle; none if and only if the band is empty.
Diagonals diagonals_of(const Band& band);

/// The band within a rectangle. May be empty().
Band clipped(Band band, Range queries, Range keys);

/// Whether `outer` sees all that `inner` sees. Exact for modulus 1 and normal forms, else it may miss some. `inner` is not empty,
/// `seen` are its diagonals: found once for many outer ones.
bool contains(const Band& outer, const Band& inner, const Diagonals& seen);

/// The same pairs in the tightest rectangle, limits only where they cut, modulus 1 for a single diagonal. The band is not empty.
Band normal_form(Band band);

/// The keys that the band reaches; empty if it sees none. With modulus 1, each is seen by some query.
Range reach(const Band& band);

/// Visible pairs of one band, in closed form. Its queries or its keys are bounded.
std::int64_t count_pairs(const Band& band);

/// Normal forms, ascending in queries.begin; empty bands and bands inside another one are dropped. Near-linear when few bands
/// share a query.
std::vector<Band> without_contained(std::vector<Band> bands);

}  // namespace gyre
