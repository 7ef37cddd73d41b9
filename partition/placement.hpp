// Placements: who holds which cell.
//
// A placement is data, one owner per (unit, head). "Zigzag" needs no code beyond its owners: 8 units on 2 ranks are owned
//
//   contiguous  0 0 0 0 1 1 1 1        striped  0 1 0 1 0 1 0 1
//   zigzag      0 0 1 1 1 1 0 0        balanced: by counted work, neighbours together as far as that is free
//
// A rank's rows are its units in ascending position. A rank may own nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "partition/bands.hpp"
#include "partition/units.hpp"

namespace gyre {

/// A rectangle of cells: consecutive units by consecutive heads, in unit-major order. Messages and slots are lists of runs.
struct CellRun {
  std::uint32_t unit = 0, units = 0;
  std::uint16_t head = 0, heads = 0;
  std::size_t cells() const { return std::size_t{units} * heads; }
  bool operator==(const CellRun&) const = default;
};

class Placement {
 public:
  static constexpr int kEveryRank = -1;  // the owner of a replicated cell

  Placement() = default;
  /// owners: one per unit, or [unit][head] with `heads` columns; each a rank or kEveryRank.
  Placement(int ranks, std::vector<std::int32_t> owners, int heads = 1);

  int ranks() const { return ranks_; }
  int units() const { return static_cast<int>(owners_.size()) / heads_; }
  bool by_unit() const { return heads_ == 1; }  // the owner does not depend on the head
  int owner(int unit, int head = 0) const { return owners_[unit * heads_ + (heads_ == 1 ? 0 : head)]; }
  bool holds(int rank, int unit, int head = 0) const;
  /// The cells of a rank as runs of all `heads` where the owner does not depend on the head: ascending, maximal.
  std::vector<CellRun> runs(int rank, int heads) const;
  std::int64_t tokens(const Units& units, int rank) const;  // rows of a rank; by_unit() only
  bool operator==(const Placement&) const = default;

  static Placement contiguous(const Units& units, int ranks);
  static Placement zigzag(const Units& units, int ranks);                        // 2 x ranks contiguous chunks, folded
  static Placement striped(const Units& units, int ranks);                       // unit u to rank u mod ranks
  static Placement striped(const Units& units, int ranks, std::int64_t tokens);  // by stripes that units were cut at
  /// work[unit]: visible pairs. No rank gets more than twice the mean number of tokens (or one unit). The greatest work is within
  /// 2% of the mean where units are light enough: 64 and more a rank, none above a tenth of a rank's work.
  static Placement balanced(const Units& units, int ranks, std::span<const std::int64_t> work);

 private:
  int ranks_ = 1;
  int heads_ = 1;
  std::vector<std::int32_t> owners_;
};

/// `--partition`, parsed: contiguous, zigzag, striped, striped(B), balanced, auto.
struct PartitionChoice {
  enum class Kind : std::uint8_t { automatic, contiguous, zigzag, striped, striped_tokens, balanced };
  Kind kind = Kind::automatic;
  std::int64_t stripe_tokens = 0;                       // of striped(B)
  static PartitionChoice parse(std::string_view text);  // throws std::invalid_argument
  std::string text() const;
  bool operator==(const PartitionChoice&) const = default;
};

}  // namespace gyre
