// All schedules by name: the one place that knows which strategy is which function.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/problem.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// strategy: not automatic. The layout must outlive the schedule.
Schedule make_schedule(Strategy strategy, const Layout& layout, const Options& options);

}  // namespace gyre
