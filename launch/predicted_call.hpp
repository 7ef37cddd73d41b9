// What a run would have been on a machine, beside what it was: the same programs, simulated after the calls, for traces and
// reports.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/simulate.hpp"

namespace gyre {

/// Instructions of all ranks together, and rectangles of query and key units that they attend, beyond which nothing is predicted: a
/// second or two of work, on rank 0, after the run.
inline constexpr double kMostPredictedInstructions = 200'000, kMostPredictedRectangles = 1'000'000;

struct PredictedCall {
  std::string machine;
  double seconds = 0;
  std::string left_out;                            // why nothing was predicted; empty if it was
  Schedule schedule;                               // the programs that it is of
  std::vector<std::vector<TimelineEvent>> events;  // [rank], from 0 seconds on
};

/// Local. schedule and layout must outlive the result.
PredictedCall predict_call(const Schedule& schedule, const Layout& layout, std::span<const int> nodes, const Machine& machine);

/// Trace events of all ranks, each behind a ",\n"; nothing if nothing was predicted. begin_seconds: of the trace, when the call
/// began.
void write_predicted_events(const PredictedCall& predicted, const Layout& layout, double begin_seconds,
                            const std::function<void(std::string_view)>& sink);

}  // namespace gyre
