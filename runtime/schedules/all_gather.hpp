// All-gather attention in slices (as in Llama 3's context parallelism, 2407.21783, section 3.3.2): every rank fetches the keys that
// its queries see straight from their owners, a slice at a time, while it attends the slice before.
//
// A slice is some heads of all units; where one head of all units is still too much, some units of one head. A slice brings at most
// about two ranks' shares of keys, so memory is bounded however many ranks there are:
//
//   8 heads, 4 ranks: 4 slices of 2 heads (each brings 2 / 8 of all cells, which is one share)
//   1 head, 8 ranks:  4 slices of a quarter of the units each
//
// Each cell travels once to each rank that sees it, and never through a third one: fewer hops than a ring, all of them at once.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// prefetch: slices that may be arriving while one is attended, at least 1. The layout must outlive the schedule.
Schedule all_gather_schedule(const Layout& layout, int prefetch);

}  // namespace gyre
