#include "bench/kernels/stopwatch.hpp"

#include <time.h>

#include <stdexcept>

namespace gyre::bench {

Clock parse_clock(const std::string& text) {
  if (text == "wall") return Clock::wall;
  if (text == "thread") return Clock::thread;
  throw std::invalid_argument("clock '" + text + "' is none: give wall or thread");
}

double seconds_now(Clock clock) {
  timespec time{};
  clock_gettime(clock == Clock::wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace gyre::bench
