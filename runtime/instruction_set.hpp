// Which kernels ranks compute with: the same on all of them, since bits may depend on it.
#pragma once

#include <string>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {

/// The kernels of that name, or of an empty one the best that every rank has. Collective; throws std::invalid_argument on every
/// rank where one does not have them.
const KernelTable& agree_on_kernels(Transport& transport, const std::string& name);

}  // namespace gyre
