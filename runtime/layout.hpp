// A problem laid out over ranks: units and placements of both axes, and who needs what. A pure function of problem, options and
// rank count: every rank, and every test of a 1,024-rank job, computes the same.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "partition/placement.hpp"
#include "partition/residue_choice.hpp"
#include "partition/units.hpp"
#include "partition/work.hpp"
#include "runtime/problem.hpp"

namespace gyre {

struct Layout {
  Problem problem;
  int ranks = 1;
  Integrity integrity = Integrity::unchecked;
  std::int64_t piece_bytes = 1;        // what travels is not cut into smaller pieces than this
  PartitionChoice partition;           // never automatic
  RowOrder rows = RowOrder::by_token;  // in cells
  ResidueOrder residues;               // of tokens in cells
  Units query_units;                   // of query indices; position = index + problem.first_query_position()
  Units key_units;
  Placement queries;  // by unit
  Placement keys;     // by unit
  Needs needs;

  Layout(const Problem& problem, const Options& options, int ranks);

  /// The same units and placements, with every query seeing every key.
  Layout without_mask() const;

  const Bands& bands() const { return bands_; }
  const Units& units_of(Role role) const { return of_keys(role) ? key_units : query_units; }
  Range query_positions(int unit) const { return query_units.range(unit) + problem.first_query_position(); }
  CellShape cell_shape() const {
    CellShape shape = problem.cell_shape();
    shape.integrity = integrity;
    shape.rows = rows;
    shape.residues = residues;
    return shape;
  }
  std::vector<int> query_units_of(int rank) const;  // ascending
  std::vector<int> key_units_of(int rank) const;    // ascending

  /// Bytes of one cell, and of a run of cells laid out one after the other.
  std::int64_t cell_bytes(Role role, int unit) const {
    const auto& begin = cell_begin(role);
    return begin[unit + 1] - begin[unit];
  }
  std::int64_t run_bytes(Role role, const CellRun& run) const {
    const auto& begin = cell_begin(role);
    return (begin[run.unit + run.units] - begin[run.unit]) * run.heads;
  }
  std::int64_t run_bytes(Role role, std::span<const CellRun> runs) const {
    std::int64_t bytes = 0;
    for (const CellRun& run : runs) bytes += run_bytes(role, run);
    return bytes;
  }

 private:
  Layout(const Problem& problem, const Options& options, int ranks, const Bands& bands);
  Layout(const Problem& problem, const Options& options, int ranks, const Bands& bands, const ResidueChoice& order);
  void place_queries();
  void place_keys();
  void find_needs();
  const std::vector<std::int64_t>& cell_begin(Role role) const { return cell_begins_[static_cast<std::size_t>(role)]; }
  Bands bands_;  // bound to the first query's position
  // [role][units + 1] bytes of one head's cells before a unit; of roles that slots have
  std::array<std::vector<std::int64_t>, static_cast<std::size_t>(Role::grad_key_value_share) + 1> cell_begins_;
};

/// The lengths of units: what the caller said, or the default rule with what the mask wishes for.
UnitTokens unit_tokens_of(const Problem& problem, const Options& options, int ranks);

/// Units of every rank, ascending.
std::vector<std::vector<int>> units_by_rank(const Placement& placement);

/// Units as maximal runs of that many heads from `first_head` on.
std::vector<CellRun> runs_of_units(std::span<const int> units, int heads, int first_head = 0);

/// The token ranges of a rank's rows in ascending order, neighbours joined: where its rows lie in a global tensor.
std::vector<Range> rows_of(const Units& units, const Placement& placement, int rank);

}  // namespace gyre
