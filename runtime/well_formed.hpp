// The part of verification that looks at one rank's program alone.
#pragma once

#include <span>
#include <string>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// What is wrong with the program by itself: slots outside the arena, operands of the wrong role, cells or peers that do not exist,
/// writes to inputs, rows of another rank, loans across nodes. Empty if nothing is. nodes: of every rank.
std::string malformed(const Layout& layout, const Program& program, std::span<const int> nodes);

}  // namespace gyre
