// The timelines of all ranks in one file, on one clock.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/transport.hpp"
#include "launch/predicted_call.hpp"
#include "launch/trace_events.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {

/// What to add to this rank's steady clock to have that of rank 0, and how far that may be off.
struct ClockOffset {
  double seconds = 0;
  double residual_seconds = 0;
};

/// Ranks of one node have one clock. For another node, its lowest rank answers rank 0 a few times with its own time: the offset is
/// taken from the fastest answer, as if it had been given in the middle, so it is off by at most half of what that took. `clock` is
/// this rank's, in seconds. Collective.
ClockOffset measure_clock_offset(Transport& transport, std::span<const int> node_of_rank, const std::function<double()>& clock);

/// Hands the text of every rank to `take` on rank 0, rank by rank; `make` gives it piece by piece. No rank holds more than a piece
/// of about kTracePieceBytes at once. Collective.
inline constexpr std::size_t kTracePieceBytes = std::size_t{1} << 20;
using TextSink = std::function<void(std::string_view)>;
void gather_text(Transport& transport, const std::function<void(const TextSink&)>& make, const TextSink& take);

struct TracedCall {
  const Program& program;
  std::span<const TimelineEvent> events;
  double began_seconds = 0;                  // on the rank's own clock
  const PredictedCall* predicted = nullptr;  // on rank 0
};

/// What a rank puts into the trace.
struct TraceOfRank {
  const Layout& layout;
  std::string label;
  std::vector<TracedCall> calls;  // one after the other: of each pass one at most
};

/// Writes the file (on rank 0; null on the others) and gives it its name. Time 0 is when the first rank began; what was predicted
/// of a call begins with rank 0's first event of it. Collective; throws
/// std::invalid_argument on every rank if the file cannot be written.
void write_trace(Transport& transport, WholeFile* file, const TraceOfRank& trace);

}  // namespace gyre
