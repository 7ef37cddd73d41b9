// All schedules by name: the one place that knows which strategy is which function.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/problem.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// Whether a strategy has programs for that: backward, those in which keys come to queries; and of these, all in which queries are
/// attended where their rows are can let queries travel instead.
bool can_go_backward(Strategy strategy, Backward backward);

/// strategy: resolved (strategy.hpp). For Pass::backward Options::backward says what travels: keys or queries. The layout must
/// outlive the schedule. Throws std::invalid_argument for what can_go_backward() denies.
Schedule make_schedule(StrategyChoice strategy, const Layout& layout, const Options& options, Pass pass = Pass::forward);

/// Bytes that come to the program's rank in a call, received or borrowed.
std::int64_t arriving_bytes(const Program& program, const Layout& layout);

}  // namespace gyre
