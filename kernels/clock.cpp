#include "kernels/clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace gyre {
namespace {

constexpr int kRounds = 4096;
constexpr int kAdditions = 16;  // a round: its own counter and jump run beside them

/// The compiler must take x for unknown after every addition. Of a register: some processors add constants while they rename.
std::uint64_t add_up(std::uint64_t x, std::uint64_t addend) {
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kAdditions; ++i) {
      x += addend;
      asm volatile("" : "+r"(x));
    }
  }
  return x;
}

}  // namespace

double clock_hertz(double seconds) {
  using Clock = std::chrono::steady_clock;
  volatile std::uint64_t addend = 3;
  std::uint64_t x = addend;
  double fastest = 0;
  const Clock::time_point begin = Clock::now();
  Clock::time_point before = begin, after = begin;
  do {
    before = after;
    x = add_up(x, addend);
    after = Clock::now();
    const double stretch = std::chrono::duration<double>(after - before).count();
    if (stretch > 0) fastest = std::max(fastest, kRounds * kAdditions / stretch);
  } while (std::chrono::duration<double>(after - begin).count() < seconds);
  addend = x;
  return fastest;
}

}  // namespace gyre
