// What slots are bytes of.
#pragma once

#include <cstddef>
#include <memory>

#include "comm/transport.hpp"

namespace gyre {

/// Programs that never run at the same time may share it: each has its slots from the start of both.
struct Memory {
  std::shared_ptr<std::byte[]> arena;
  std::shared_ptr<SharedMemory> window;  // null if nothing is lent or borrowed
};

}  // namespace gyre
