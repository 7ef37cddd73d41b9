// Counts what the calling thread allocates with `new`, in executables that are linked with count_allocations.cpp.
#pragma once

#include <cstdint>

std::uint64_t allocations_of_this_thread();
