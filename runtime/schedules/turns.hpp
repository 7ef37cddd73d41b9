// Slots that arrivals take turns in: each stays from the step in which it is asked for until the last one in which it is read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gyre {

struct Stay {
  int begin, end;  // steps, both included
  std::int64_t passed_bytes, detour_bytes;
};

/// As few slots as there are stays at once, each as large as the largest stay in it.
struct Turns {
  struct Slot {
    int free_from;
    std::int64_t passed_bytes, detour_bytes;
  };
  std::vector<Slot> slots;

  /// The slot of a stay; the earliest to begin has to be asked for first.
  int take(const Stay& stay) {
    auto free = std::find_if(slots.begin(), slots.end(), [&](const Slot& s) { return s.free_from <= stay.begin; });
    if (free == slots.end()) free = slots.insert(free, Slot{0, 0, 0});
    free->free_from = stay.end + 1;
    free->passed_bytes = std::max(free->passed_bytes, stay.passed_bytes);
    free->detour_bytes = std::max(free->detour_bytes, stay.detour_bytes);
    return static_cast<int>(free - slots.begin());
  }
};

}  // namespace gyre
