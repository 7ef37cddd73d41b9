// Bidirectional ring attention: the ring, with half of every rank's cells going each way, so that links that can carry both
// directions at once do.
//
//   rank r at step t:   one half of the cells of r - t, from r - 1      the other half of those of r + t, from r + 1
//
// A half is half of the heads where their number is even, else half of the units.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// prefetch: as in ring_schedule. The layout must outlive the schedule.
Schedule bidirectional_ring_schedule(const Layout& layout, int prefetch, Travellers travellers = Travellers::keys);

}  // namespace gyre
