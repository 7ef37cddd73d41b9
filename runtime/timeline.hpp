// What happened in a call, and when: for traces and live displays.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace gyre {

/// A stretch of time of one instruction (an index into the program), in seconds of std::chrono::steady_clock.
struct TimelineEvent {
  enum class Kind : std::uint8_t {
    compute,   // attend or apply, from its start to its end
    transfer,  // send, receive, expose or borrow: from posting until it was seen to be complete
    wait,      // thread 0 had nothing to do until this instruction was complete
    flow,      // of a receive: from the first byte on the wire until the last one is there; only simulations know
  };
  std::uint32_t instruction = 0;
  Kind kind = Kind::compute;
  double begin_seconds = 0;
  double end_seconds = 0;
};

/// Records one call at a time. The executor makes room before it starts its clock, so that recording allocates nothing.
class Timeline {
 public:
  std::span<const TimelineEvent> events() const { return events_; }

  void start(std::size_t most_events) {
    events_.clear();
    events_.reserve(most_events);
  }
  void add(const TimelineEvent& event) { events_.push_back(event); }

 private:
  std::vector<TimelineEvent> events_;
};

/// Where a call stands, on this rank.
struct Progress {
  double share_done = 0;  // of this rank's computation, 0 to 1
  double waiting_seconds = 0;
  std::uint32_t stage = 0;
};

/// Whether transfers take place. With `silent` they complete at once and slots keep what the call before left in them: the same
/// work with communication switched off, between two barriers, so that no other call writes what neighbours read here. A call of
/// the same pass with `live` has to come just before, as passes share memory; where slots serve several stages, results are wrong.
enum class Wire : std::uint8_t { live, silent };

/// How one call is run; nothing here changes the result but Wire::silent and a replay. Borrowed for the call.
struct CallOptions {
  Wire wire = Wire::live;                                          // the same on every rank
  Timeline* timeline = nullptr;                                    // null: nothing is recorded
  const std::function<void(const Progress&)>* progress = nullptr;  // called on the calling thread, at most every 0.5 ms
  /// [instruction]: seconds that the rank sleeps instead of computing; empty: it computes. Transfers take place as ever, of cells
  /// that nobody packed, so that more ranks than cores can be timed. Of every rank, or of none.
  std::span<const double> replay = {};
};

}  // namespace gyre
