// Work: visible pairs counted exactly, and who needs which key unit.
#pragma once

#include <cstdint>
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

/// For one query unit: the key units with at least one tile that is not empty, ascending.
std::vector<int> key_units_seen(const Bands& bands, Range queries, const Units& keys);

/// Which ranks have a query that sees a key unit: one byte for each [key unit][rank].
class Needs {
 public:
  Needs() = default;
  Needs(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset, const Placement& placement);
  bool needs(int rank, int key_unit) const { return bits_[static_cast<std::size_t>(key_unit) * ranks_ + rank] != 0; }

 private:
  int ranks_ = 1;
  std::vector<std::uint8_t> bits_;
};

}  // namespace gyre
