// The part of verification that looks at one rank's program alone.
#pragma once

#include <string>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// What is wrong with the program by itself: slots outside the arena, operands of the wrong role, cells or peers that do not exist,
/// writes to inputs, rows of another rank. Empty if nothing is.
std::string malformed(const Layout& layout, const Program& program);

}  // namespace gyre
