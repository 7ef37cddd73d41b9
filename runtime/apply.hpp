// What apply and combine do to one cell: by their function, and by the roles of the slots that it lies in and comes from.
#pragma once

#include <cstddef>

#include "kernels/cell.hpp"
#include "kernels/dispatch.hpp"
#include "runtime/executor.hpp"
#include "runtime/lowered.hpp"
#include "runtime/positions.hpp"

namespace gyre {

/// Of one call: those of its pass, the other is null.
struct CallOperands {
  const Operands* forward = nullptr;
  const GradientOperands* backward = nullptr;
};

/// place: where the cell is made, added to or read; of the size of row_cell.cell. Checksums are left to whoever calls.
void apply_to_cell(Function function, const KernelTable& kernels, const CellShape& shape, const Positions& positions,
                   const CallOperands& operands, const RowCell& row_cell, std::byte* place);

}  // namespace gyre
