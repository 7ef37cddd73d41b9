// Ulysses attention (DeepSpeed-Ulysses, 2309.14509), and its hybrid with the ring (USP, 2405.07719).
//
// Ranks form groups of U neighbours. Inside a group, queries go to whoever attends their head, and their results come home; keys
// of a head travel between those ranks of all groups that attend it: first straight from the group's own ranks, then by a ring
// between groups.
//
//   step (t, S) of rank (g, u): cells of rank (g - S, u + t)      S = 0: from home      S > 0: from (g - 1, u)
//
// hybrid(1) is the ring, hybrid(P) is Ulysses. Heads need not divide by U: the group's (head, query unit) pairs, head by head, are
// cut into U parts of equal work. A rank gets of a head's keys what its queries see, so fewer key/value heads than ranks replicate
// no more than that.
#pragma once

#include "partition/placement.hpp"
#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// Who attends which query cell: owner(unit, head), of the same group as the unit's rank. group: a divisor of the ranks.
Placement heads_inside_groups(const Layout& layout, int group);

/// prefetch: as in ring_schedule. The layout must outlive the schedule.
Schedule hybrid_schedule(const Layout& layout, int group, int prefetch, Travellers travellers = Travellers::keys);

}  // namespace gyre
