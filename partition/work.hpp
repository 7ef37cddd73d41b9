// Work: visible pairs counted exactly, and who needs which key unit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partition/bands.hpp"
#include "partition/placement.hpp"
#include "partition/units.hpp"

namespace gyre {

/// Visible pairs of every query unit against all keys. `query_offset`: position of query 0 on the key axis.
std::vector<std::int64_t> count_work(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset);

/// Work of every rank under a placement of query units (by_unit()).
std::vector<std::int64_t> work_by_rank(const Placement& queries, const std::vector<std::int64_t>& unit_work);

/// Greatest rank's work over the mean; 1 when there is none.
double imbalance(const std::vector<std::int64_t>& rank_work);

/// For one query unit: the key units with at least one tile that is not empty for one of these query heads, ascending.
std::vector<int> key_units_seen(const Bands& bands, Range queries, const Units& keys, Range heads = kEveryHead);

/// Key/value heads, and the query heads that read each.
struct Heads {
  int count = 1;
  int group = 1;
  Range queries_of(int head) const { return {std::int64_t{head} * group, std::int64_t{head + 1} * group}; }
};

/// Which ranks need a cell: one byte for each [unit][head][rank]; of all heads together where masks and placement tell none apart.
class Needs {
 public:
  Needs() = default;
  /// Of key cells: the ranks that have a query, by this placement of query cells, which sees them.
  Needs(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset, const Placement& placement,
        Heads heads = {});
  /// Of query cells: the ranks that have a key, by this placement of whole key units, which they see.
  static Needs of_queries(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset,
                          const Placement& keys_at, Heads heads = {});
  bool needs(int rank, int unit, int head = 0) const { return bits_[at(unit, heads_ == 1 ? 0 : head) + rank] != 0; }
  bool by_unit() const { return heads_ == 1; }  // the same for all heads
  void add(int rank, int unit, int head) { bits_[at(unit, heads_ == 1 ? 0 : head) + rank] = 1; }

 private:
  Needs(int ranks, int heads, int units) : ranks_(ranks), heads_(heads), bits_(static_cast<std::size_t>(units) * heads * ranks) {}
  std::size_t at(int unit, int head) const { return (static_cast<std::size_t>(unit) * heads_ + head) * ranks_; }
  int ranks_ = 1, heads_ = 1;
  std::vector<std::uint8_t> bits_;
};

}  // namespace gyre
