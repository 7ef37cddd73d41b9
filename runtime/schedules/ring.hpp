// Ring attention (Liu et al., 2310.01889): key/value cells travel once around the ranks, each rank attends what passes by.
//
// At stage t rank r holds cells of rank r - t; it receives from r - 1 and sends to r + 1. Zigzag, striped and balanced rings are
// this schedule under another placement. A cell goes no further than the last rank that needs it, so causal masks, windows and
// documents thin the program without being known here.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// prefetch: stages that may be arriving while one is attended, at least 1; a rank holds one more beside its own cells. The layout
/// must outlive the schedule.
Schedule ring_schedule(const Layout& layout, int prefetch, Travellers travellers = Travellers::keys);

}  // namespace gyre
