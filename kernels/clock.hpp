// The clock of the core that a thread runs on.
#pragma once

namespace gyre {

/// Cycles a second of the calling thread's core, measured for about `seconds` by additions that wait for each other: one a
/// cycle on every processor that we know. Multiply-adds a cycle, unlike a share of the peak loop's speed, tell a kernel that is
/// fast from a peak loop that is slow. The fastest of many stretches of 20 us counts, so being interrupted does not.
double clock_hertz(double seconds);

}  // namespace gyre
