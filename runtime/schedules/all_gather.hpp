// All-gather attention (as in Llama 3's context parallelism, 2407.21783, section 3.3.2), a share at a time: every rank fetches the
// keys that its queries see straight from their owners.
//
// At stage t rank r fetches from rank r - t, as in a pairwise exchange: whoever fetches asks another owner than all the others do,
// so that no rank is asked by many at once, and memory is bounded by the stages in flight. Each cell travels once to each rank that
// sees it, and never through a third one: a rank that is late holds up those that it sends to, and not the ranks behind them.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// prefetch: shares that may be arriving while one is attended, at least 1. The layout must outlive the schedule.
Schedule all_gather_schedule(const Layout& layout, int prefetch, Travellers travellers = Travellers::keys);

}  // namespace gyre
