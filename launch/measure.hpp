// How long a forward takes, and how fast the cores that it ran on can multiply and add.
#pragma once

#include <cstdint>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "runtime/attention.hpp"

namespace gyre {

/// One call as a job sees it: the median repetition, of each quantity the rank that had most of it.
struct Measurement {
  int repetitions = 1;
  CallTime call;
  std::uint64_t bytes_sent = 0;  // in one call, all ranks
};

/// Runs forward that many times, after a warm-up if asked for. Collective; every rank returns the same.
Measurement measure_forward(Transport& transport, Attention& attention, const Operands& operands, int repetitions, bool warm_up);

/// FLOP/s of all ranks' teams together, each thread in a loop of independent multiply-adds, all at the same time. Collective.
double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels);

}  // namespace gyre
