// What lies where in a slot: the cells of some runs, one after the other, unit-major, from the slot's start.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/layout.hpp"

namespace gyre {

class Content {
 public:
  Content() = default;
  Content(const Layout& layout, Role role, std::span<const CellRun> runs);

  Role role() const { return role_; }
  std::span<const CellRun> runs() const { return runs_; }

  /// Bytes from the slot's start to a cell; nothing if the cell is not there.
  std::optional<std::int64_t> offset(const Layout& layout, std::uint32_t unit, std::uint16_t head) const;

  /// Where the run starts, if all of it lies here in one piece.
  std::optional<std::int64_t> offset(const Layout& layout, const CellRun& run) const;

 private:
  Role role_ = Role::rows;
  std::span<const CellRun> runs_;     // of the program
  std::vector<std::int64_t> begins_;  // [runs + 1] bytes before each run
};

}  // namespace gyre
