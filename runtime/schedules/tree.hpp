// Tree attention (2408.04093): queries go to all ranks with keys that they see, each attends its own keys, and what was found is
// combined along a binomial tree towards the rank that has the rows. For a few queries over keys of many ranks: ceil(log2 P) rounds
// each way, and one message a round brings numerators, maxima and sums of all rows together.
//
//   rank o + s gets o's queries from o + (s without its highest bit); results go the same way back, the farthest first:
//
//   P = 8, rows of rank 0:   queries 0 -> 1 | 0 -> 2, 1 -> 3 | 0 -> 4, 1 -> 5, 2 -> 6, 3 -> 7
//                            results 4 -> 0, 5 -> 1, 6 -> 2, 7 -> 3 | 2 -> 0, 3 -> 1 | 1 -> 0
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// Every rank holds all the queries that it or somebody behind it in the tree sees. The layout must outlive the schedule.
Schedule tree_schedule(const Layout& layout);

}  // namespace gyre
