// All schedules by name: the one place that knows which strategy is which function.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/problem.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// strategy: resolved (strategy.hpp). The layout must outlive the schedule.
Schedule make_schedule(StrategyChoice strategy, const Layout& layout, const Options& options);

/// Bytes that come to the program's rank in a call, received or borrowed.
std::int64_t arriving_bytes(const Program& program, const Layout& layout);

}  // namespace gyre
