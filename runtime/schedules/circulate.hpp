// Schedules in which keys come to queries: ring, bidirectional ring, double ring, all_gather, Ulysses, hybrid.
//
// They differ in two things alone: where queries are attended (where their rows are, or at whom their head is), and by which routes
// the keys travel. Queries that are attended elsewhere go there first, and their results come home at the end:
//
//   pack queries and keys, send queries away -> in every step: ask for later keys, pass keys on, attend those that are here
//                                            -> settle what visitors have accumulated, send it home, finish
//
// Own queries go first in the first step, while visitors arrive, and last in the last one, while their results travel.
//
// Backward it is the same: what travels comes home with a gradient (schedules/homeward.hpp), and what visitors have accumulated are
// gradients, settled to shares.
#pragma once

#include "runtime/program.hpp"
#include "runtime/schedules/circulation.hpp"

namespace gyre {

Program circulate(const Circulation& circulation, int rank);

}  // namespace gyre
