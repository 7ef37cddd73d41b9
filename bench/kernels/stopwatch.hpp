// The two clocks that runs are timed by.
#pragma once

#include <cstdint>
#include <string>

namespace gyre::bench {

/// wall: what passes. thread: what the processor spends on the calling thread, so that what others do on a shared machine does not
/// count (but for caches and clocks); of one thread only.
enum class Clock : std::uint8_t { wall, thread };
Clock parse_clock(const std::string& text);  // throws std::invalid_argument naming the two

double seconds_now(Clock clock);

template <class Body>
double seconds_of(Clock clock, const Body& body) {
  const double begin = seconds_now(clock);
  body();
  return seconds_now(clock) - begin;
}

}  // namespace gyre::bench
