// What a run cannot exceed, measured just before and after it: on a shared machine clocks and neighbours change from second to
// second, the share of a bound does not.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bench/kernels/shape.hpp"
#include "bench/kernels/stopwatch.hpp"
#include "kernels/team.hpp"

namespace gyre::bench {

struct Bounds {
  double flops = 0;             // FLOP/s of a loop of multiply-adds in registers on every thread of the team, added up
  double hertz = 0;             // the clock of the calling thread's core
  double bytes_per_second = 0;  // of a loop that only reads, on the whole team; 0 if there is nothing to read
};

/// Of the instructions that the shape's pass multiplies with, for about so many seconds. Collective over the team.
Bounds measure_bounds(const Shape& shape, Team& team, Clock clock, double seconds,
                      std::span<const std::span<const std::byte>> reads);

Bounds mean(const Bounds& a, const Bounds& b);

}  // namespace gyre::bench
