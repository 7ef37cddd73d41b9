// How rows are turned where they become cells, and gradients where they become rows: by where their unit stands in the sequence, so
// that no placement and no schedule has to know.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/rotary.hpp"
#include "runtime/problem.hpp"

namespace gyre {

class Positions {
 public:
  /// kernels must outlive this.
  Positions(const Problem& problem, const KernelTable& kernels);

  /// Of a unit whose first token stands at `position` of the key axis. What they give must not outlive this.
  Turned of_queries(std::int64_t position) const;
  Turned of_keys(std::int64_t position) const;

 private:
  std::optional<RotaryTable> table_;
  std::optional<DualChunk> dual_chunk_;
};

}  // namespace gyre
