// Bands: the normal form of every mask, and the only thing that kernels, counters and schedules see.
//
// A band is a rectangle of (query, key) positions, cut by a diagonal strip and a residue class:
//
//   visible(i, j)  <=>  i in queries, j in keys, lower <= j - i <= upper, (j - i) mod modulus == residue
//
// A band may also carry a table of blocks, which then has to show the pair as well, and one of diagonals, which has to show the bin
// (i - j) div C that the pair lies in. Nothing but a table tells query heads apart.
//
// A mask is an OR of bands. Bands are closed under AND (the residues by the Chinese remainder theorem), so masks compose:
//
//   causal            any query, any key, j - i in [-inf, 0]
//   window(L, R)      j - i in [-L, R]
//   documents(a, b)   queries [0,a) x keys [0,a)  OR  queries [a,a+b) x keys [a,a+b)
//   dilated(L, D)     j - i in [-(L-1)D, 0], modulus D, residue 0
//
// Positions are those of the key axis; the query's own offset has been added by the caller. Tables of blocks alone count queries
// from the first one, so bands that have some are bound to its position: at().
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "partition/block_table.hpp"
#include "partition/residues.hpp"
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
  // Owned by the Bands that it is in; what a band says of itself leaves them out.
  const BlockTable* blocks = nullptr;
  const BlockTable* diagonals = nullptr;  // one row; upper is at most 0

  bool visible(std::int64_t query, std::int64_t key) const;
  bool empty() const;
  /// The keys that one query may see, as an interval (residue class not applied).
  Range keys_of(std::int64_t query) const;
  bool operator==(const Band&) const = default;
};

/// The pairs visible in both. May be empty(). Keeps the tables of one of them: of each kind at most one has one, or both the same.
Band operator&(const Band& a, const Band& b);

/// How much of a tile is visible. A tile that is full only as a union of several bands may be called partial.
enum class Cover : std::uint8_t { empty, partial, full };

/// Query heads of a tile; nothing less than all of them.
inline constexpr Range kEveryHead{0, std::int64_t{1} << 30};

/// A set of pairs: the union of bands, indexed by query range so that ten thousand documents cost a binary search. Immutable, and
/// shared by its copies.
class Bands {
 public:
  using Tables = std::vector<std::shared_ptr<const BlockTable>>;

  Bands() = default;  // sees nothing
  /// Every band is put in its tightest rectangle, without limits that do not cut; empty bands and bands inside another are dropped.
  /// `tables`: those that bands point to, of both kinds. Throws std::invalid_argument on a malformed band, on more than kMostBands
  /// and on tables whose numbers of heads differ (1 goes with any).
  explicit Bands(std::vector<Band> bands, const Tables& tables = {});

  std::span<const Band> all() const { return contents_->bands; }  // ascending in queries.begin
  const Tables& tables() const { return contents_->tables; }
  /// 1 if every query head sees the same, else the number of query heads that the tables were made for.
  int heads() const { return contents_->heads; }
  /// Whether each run of so many query heads sees the same. Looks through all tables.
  bool heads_alike(int together) const;
  /// The same bands with row 0 of their tables of blocks at this position. Until then it is at 0.
  Bands at(std::int64_t first_query_position) const;
  std::int64_t first_query_position() const { return first_query_; }

  /// head: of queries; any where heads() is 1.
  bool visible(std::int64_t query, std::int64_t key, int head = 0) const;
  /// Empty is exact: never a tile in which a pair is visible for one of the heads, always one in which none is. Full is full for
  /// all.
  Cover cover(Range queries, Range keys, Range heads = kEveryHead) const;

  /// Exact number of visible pairs in the rectangle (bounded queries or keys), summed over heads(): in closed form while few bands
  /// overlap, whatever the number of rows; else by intervals per query row; never pair by pair. Tables add a step for each row of
  /// blocks and, where several bands overlap or a band cuts blocks, for each run of keys that they show alike, and for each word of
  /// 64 diagonals.
  std::int64_t count(Range queries, Range keys) const;

  /// Intervals, ascending, disjoint and within `keys`, outside of which no query of the range sees a key: a superset of what is
  /// seen, so that loops touch what is visible and not everything; tables are left to cover(). `out` is overwritten; allocates only
  /// to grow it.
  void keys_touched(Range queries, Range keys, std::vector<Range>& out) const;

  /// Columns: blocks of few keys and many queries, by which a table says what stretches of queries see, whatever bands cut off.
  struct ColumnBlocks {
    std::int64_t least_queries = 0;
    std::int64_t most_keys = 0;
  };
  /// The keys of the range that tables of columns show to this query, for one of these heads, ascending. `out` is overwritten.
  void columns(std::int64_t query, Range keys, const ColumnBlocks& which, Range heads, std::vector<std::int64_t>& out) const;
  /// The queries around this one that are shown the same columns: they stand in the same rows of these tables.
  Range same_columns(std::int64_t query, const ColumnBlocks& which) const;
  /// For how many heads such tables are: 1 where none tells heads apart.
  int column_heads(const ColumnBlocks& which) const;
  /// The same bands in two sets: those that carry a table of columns, without it, and the others. So a key that it shows to a query
  /// is visible where one of the two says so. Nothing unless there is one such table, and it is the same for so many heads
  /// together.
  struct Split;
  std::optional<Split> split_columns(const ColumnBlocks& which, int heads_together) const;

  /// The tile interface of kernels: for up to 64 lanes at the given query positions and every key of the range, bit `lane` of
  /// out[key - keys.begin] tells whether the lane sees the key. Costs O(lanes + keys) per band that touches the tile (a modulus
  /// adds its visible pairs). Lanes in any order; a lane at kNoPosition sees nothing. heads: of the lanes, may be left out where
  /// heads() is 1. out has at least keys.size() entries, of which those are overwritten. Allocates nothing.
  void mark(std::span<const std::int64_t> lanes, std::span<const std::int32_t> heads, Range keys,
            std::span<std::uint64_t> out) const;
  /// The same of a unit of keys that lie in residue order: of the key at a place in out[place]. Where lanes stand a stride apart,
  /// and a band's modulus is the stride, it takes a step for each place that is seen instead of each pair. Returns places outside
  /// of which no lane sees a key.
  Range mark(std::span<const std::int64_t> lanes, std::span<const std::int32_t> heads, Range unit, ResidueOrder order,
             std::span<std::uint64_t> out) const;

  /// Throws std::invalid_argument when the result would need more than kMostBands bands, or too large a table. Both must be bound
  /// to the same position if both have tables.
  friend Bands operator&(const Bands& a, const Bands& b);
  friend Bands operator|(const Bands& a, const Bands& b);

  static constexpr std::size_t kMostBands = 1'000'000;

 private:
  struct Contents {
    std::vector<Band> bands;
    std::vector<std::int64_t> latest_end;  // a binary heap's layout: greatest queries.end below each node, bands at the leaves
    Tables tables;
    Tables block_tables;  // of these, those of blocks: they have rows
    int heads = 1;
  };
  static const std::shared_ptr<const Contents>& nothing();
  const Tables& block_tables() const { return contents_->block_tables; }

  template <class Visit>
  void each_touching(Range queries, Visit&& visit) const;  // visit(const Band&) -> bool: false stops
  static std::int64_t common_position(const Bands& a, const Bands& b);
  std::vector<Band> parts_in(Range queries, Range keys) const;
  std::int64_t row_border_after(std::int64_t query) const;  // of all tables of blocks the next

  std::shared_ptr<const Contents> contents_ = nothing();
  std::int64_t first_query_ = 0;  // the position of the tables' row 0
};

struct Bands::Split {
  Bands columns;
  Bands others;
};

}  // namespace gyre
