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
#include <functional>
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

/// Tokens that one rank holds.
struct Chunk {
  Range tokens;
  std::int32_t rank = 0;
  bool operator==(const Chunk&) const = default;
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

  /// A caller's own. Throws std::invalid_argument unless the chunks, in any order, cover every token once, go to ranks that there
  /// are and end where units do. `axis`: of the message.
  static Placement of_chunks(const Units& units, int ranks, std::span<const Chunk> chunks, const char* axis);
  static Placement contiguous(const Units& units, int ranks);
  static Placement zigzag(const Units& units, int ranks);                        // 2 x ranks contiguous chunks, folded
  static Placement striped(const Units& units, int ranks);                       // unit u to rank u mod ranks
  static Placement striped(const Units& units, int ranks, std::int64_t tokens);  // by stripes that units were cut at
  /// Every document cut in 2 x ranks chunks and folded, so that a rank holds an equal share of each; documents of fewer units go
  /// whole or in runs, to whom has least. borders: of documents, ascending, in tokens of this axis; work[unit]: visible pairs.
  static Placement zigzag_documents(const Units& units, int ranks, std::span<const std::int64_t> work,
                                    std::span<const std::int64_t> borders);
  /// work[unit]: visible pairs. No rank gets more than twice the mean number of tokens (or one unit). The greatest work is within
  /// 2% of the mean where units are light enough: 64 and more a rank, none above a tenth of a rank's work.
  static Placement balanced(const Units& units, int ranks, std::span<const std::int64_t> work);

 private:
  int ranks_ = 1;
  int heads_ = 1;
  std::vector<std::int32_t> owners_;
};

/// `--partition`, parsed: contiguous, zigzag, zigzag_documents, striped, striped(B), balanced, layout(FILE), layout(FILE,FILE),
/// auto.
struct PartitionChoice {
  enum class Kind : std::uint8_t { automatic, contiguous, zigzag, zigzag_documents, striped, striped_tokens, balanced, layout };
  Kind kind = Kind::automatic;
  std::int64_t stripe_tokens = 0;        // of striped(B)
  std::vector<Chunk> query_chunks = {};  // of layout: any order, each token of the axis once; units are cut at their borders
  std::vector<Chunk> key_chunks = {};    // empty: as queries where there are as many keys, else contiguous
  std::string source = {};               // of layout: the files, where there are some

  /// A layout of the caller's own, for instance that of its training step.
  static PartitionChoice layout(std::vector<Chunk> queries, std::vector<Chunk> keys = {});

  using ReadChunks = std::function<std::vector<Chunk>(const std::string& path)>;     // throws std::invalid_argument
  static PartitionChoice parse(std::string_view text, const ReadChunks& read = {});  // throws std::invalid_argument
  std::string text() const;  // parses to the same, given the same files; "layout of 5 chunks" where there are none
  bool operator==(const PartitionChoice&) const = default;
};

}  // namespace gyre
