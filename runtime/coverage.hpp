// What rows have accumulated, as the verifier knows it: for every query cell of a partial, of a gradient, or of what travels of
// them, the key units whose cells of the same head were attended. Rows with the same history share one set. In gradients of keys
// it is the other way round: rows are key cells, and what they attend are query units.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "partition/placement.hpp"

namespace gyre {

class Coverage {
 public:
  using RowCell = std::pair<std::uint32_t, std::uint16_t>;  // (unit, head)
  /// Whether the tile of a row's unit and one of the other axis has a visible pair: empty ones may be attended any number of times.
  using Sees = std::function<bool(std::uint32_t unit, int other)>;

  Coverage() = default;
  /// Nothing, for each of these cells.
  Coverage(std::span<const CellRun> rows, int key_units);

  bool has(RowCell row) const { return find(row) != nullptr; }
  /// All rows attend these key cells, each of its head. Returns a key unit that a row attends for the second time.
  std::optional<int> attend(std::span<const CellRun> keys, const Sees& sees);
  /// What some of the rows have: they must all be there.
  Coverage of(std::span<const CellRun> rows) const;
  /// Adds what these rows have in `other`; both must have them. Returns a key unit that a row would have twice.
  std::optional<int> combine(const Coverage& other, std::span<const CellRun> rows, const Sees& sees);
  bool covers(RowCell row, int key_unit) const;

  template <class Visit>
  void each_row(Visit&& visit) const {
    for (const Group& group : groups_)
      for (const RowCell& row : group.rows) visit(row);
  }

 private:
  struct Group {
    std::vector<RowCell> rows;   // of one head, ascending
    std::vector<bool> attended;  // [key unit]
    /// False if a row that sees the unit has it already.
    bool add(int key_unit, const Sees& sees);
  };
  const Group* find(RowCell row) const;
  /// Makes the rows of a group that satisfy a condition a group of their own.
  template <class Wanted>
  void split(std::size_t group, Wanted&& wanted);

  std::vector<Group> groups_;
};

}  // namespace gyre
