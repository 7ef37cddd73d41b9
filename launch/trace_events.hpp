// A rank's timeline as trace events: what Perfetto, chrome://tracing and bench/draw_timeline draw.
//
// One process a rank. Its rows: compute, wait, and as many for sends and for receives as were in flight at once, since stretches on
// one row may not overlap. What was predicted has rows for the wire too. Arrows go from a send to the receive that it met. Format:
// the Trace Event Format of Chrome's tracing; complete events (ph X), metadata (M), flows (s, f); microseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/timeline.hpp"

namespace gyre {

/// Whether things happened or were simulated. A rank's predicted events are a process of their own, beside the other one.
enum class Told : std::uint8_t { measured, predicted };

/// What a timeline lies in.
struct TraceFrame {
  std::string label;              // of the rank: "node 0, 4 threads"
  double to_trace_seconds = 0;    // what to add to this rank's clock to have seconds since the trace begins
  double call_began_seconds = 0;  // on this rank's clock: until the first event it waits for the last rank to begin
  Told told = Told::measured;
};

/// What an instruction does, for a reader: "attend units 8..11 20..23, stage 2", "receive 4.2 MB from 3, stage 1".
std::string describe_for_reader(const Program& program, const Layout& layout, std::size_t instruction);

/// Events as JSON objects, separated by ",\n". Appends to the sink piece by piece.
void write_trace_events(const Program& program, const Layout& layout, std::span<const TimelineEvent> events,
                        const TraceFrame& frame, const std::function<void(std::string_view)>& sink);

}  // namespace gyre
