// Where the time of a forward pass goes, on one rank.
#pragma once

#include <chrono>
#include <utility>

namespace gyre::longbook {

struct ForwardSeconds {
  double embedding = 0, norms = 0, projections = 0;
  double estimating = 0, planning = 0;  // where heads choose pairs: which, and an attention for them
  double attending = 0, packing = 0,
         waiting = 0;  // attention: computing; cells from rows, which turns them, and back; nothing to compute
  double feed_forward = 0, logits = 0;
  double total = 0;
};

/// The time since the last lap, or since this was made.
class Stopwatch {
 public:
  double lap() {
    const Clock::time_point now = Clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

}  // namespace gyre::longbook
