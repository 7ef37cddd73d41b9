// Bands: the normal form of every mask, and the only thing that kernels, counters and schedules see.
//
// A band is a rectangle of (query, key) positions, cut by a diagonal strip and a residue class:
//
//   visible(i, j)  <=>  i in queries, j in keys, lower <= j - i <= upper, (j - i) mod modulus == residue
//
// A mask is an OR of bands. Bands are closed under AND (the residues by the Chinese remainder theorem), so masks compose:
//
//   causal            any query, any key, j - i in [-inf, 0]
//   window(L, R)      j - i in [-L, R]
//   documents(a, b)   queries [0,a) x keys [0,a)  OR  queries [a,a+b) x keys [a,a+b)
//   dilated(L, D)     j - i in [-(L-1)D, 0], modulus D, residue 0
//
// Positions are those of the key axis; the query's own offset has been added by the caller.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "partition/units.hpp"

namespace gyre {

/// Far enough from every position to mean "no limit", near enough that sums of two do not overflow.
inline constexpr std::int64_t kUnbounded = std::int64_t{1} << 60;
/// The position of a lane that holds no query: outside of every band.
inline constexpr std::int64_t kNoPosition = std::int64_t{1} << 61;

struct Band {
  Range queries{-kUnbounded, kUnbounded};
  Range keys{-kUnbounded, kUnbounded};
  std::int64_t lower = -kUnbounded;  // of j - i, inclusive
  std::int64_t upper = kUnbounded;   // of j - i, inclusive
  std::int64_t modulus = 1;          // at least 1
  std::int64_t residue = 0;          // of j - i, in [0, modulus)

  bool visible(std::int64_t query, std::int64_t key) const;
  bool empty() const;
  /// The keys that one query may see, as an interval (residue class not applied).
  Range keys_of(std::int64_t query) const;
  bool operator==(const Band&) const = default;
};

/// The pairs visible in both. May be empty().
Band operator&(const Band& a, const Band& b);

/// How much of a tile is visible. A tile that is full only as a union of several bands may be called partial.
enum class Cover : std::uint8_t { empty, partial, full };

/// A set of pairs: the union of bands, indexed by query range so that ten thousand documents cost a binary search.
class Bands {
 public:
  Bands() = default;  // sees nothing
  /// Every band is put in its tightest rectangle, without limits that do not cut; empty bands and bands inside another are dropped.
  /// Throws std::invalid_argument on a malformed band or more than kMostBands.
  explicit Bands(std::vector<Band> bands);

  std::span<const Band> all() const { return bands_; }  // ascending in queries.begin

  bool visible(std::int64_t query, std::int64_t key) const;
  /// Empty is exact: never a tile in which a pair is visible, always one in which none is.
  Cover cover(Range queries, Range keys) const;

  /// Exact number of visible pairs in the rectangle (bounded queries or keys): in closed form while few bands overlap, whatever the
  /// number of rows; else by intervals per query row; never pair by pair.
  std::int64_t count(Range queries, Range keys) const;

  /// Intervals, ascending, disjoint and within `keys`, outside of which no query of the range sees a key: a superset of what is
  /// seen, so that loops touch what is visible and not everything. `out` is overwritten; allocates only to grow it.
  void keys_touched(Range queries, Range keys, std::vector<Range>& out) const;

  /// The tile interface of kernels: for up to 64 lanes at the given query positions and every key of the range, bit `lane` of
  /// out[key - keys.begin] tells whether the lane sees the key. Costs O(lanes + keys) per band that touches the tile (a modulus
  /// adds its visible pairs). Lanes in any order; a lane at kNoPosition sees nothing. out has at least keys.size() entries, of
  /// which those are overwritten. Allocates nothing.
  void mark(std::span<const std::int64_t> lanes, Range keys, std::span<std::uint64_t> out) const;

  /// Throws std::invalid_argument when the result would need more than kMostBands bands.
  friend Bands operator&(const Bands& a, const Bands& b);
  friend Bands operator|(const Bands& a, const Bands& b);

  static constexpr std::size_t kMostBands = 1'000'000;

 private:
  template <class Visit>
  void each_touching(Range queries, Visit&& visit) const;  // visit(const Band&) -> bool: false stops

  std::vector<Band> bands_;
  std::vector<std::int64_t> latest_end_;  // a binary heap's layout: greatest queries.end below each node, bands at the leaves
};

}  // namespace gyre
