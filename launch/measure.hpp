// How long a forward takes on every rank, and how fast the cores that it ran on can multiply and add.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "runtime/attention.hpp"

namespace gyre {

/// One rank in the median repetition; bytes are a call's.
struct RankFigures {
  CallTime call;
  std::uint64_t bytes_sent = 0;
};

/// The rank that has most of something, and the mean over the ranks.
struct Spread {
  double most = 0;
  double mean = 0;
  int rank = 0;  // the lowest that has most

  /// Most over mean, minus 1: the share of the mean rank's time that it spends until the slowest is done.
  double imbalance() const { return mean > 0 ? most / mean - 1 : 0; }
};

/// Repeated calls as a job sees them: a call takes as long as its slowest rank.
struct Measurement {
  int repetitions = 1;
  double seconds = 0;              // of the median repetition (the lower one, so that it is a call that took place)
  double fastest_seconds = 0;      // of any repetition
  double slowest_seconds = 0;      // of any repetition
  std::vector<RankFigures> ranks;  // in the median repetition
  double cpu_seconds = 0;          // user and system, of all processes, in a mean call

  Spread spread(double CallTime::*part) const;
  Spread spread(std::uint64_t RankFigures::*part) const;
  std::uint64_t sum(std::uint64_t RankFigures::*part) const;
};

/// Runs forward that many times, after a warm-up if asked for. `ranks_share_process`: all of them are threads of this one.
/// Collective; every rank returns the same.
Measurement measure_forward(Transport& transport, Attention& attention, const Operands& operands, int repetitions, bool warm_up,
                            bool ranks_share_process);

/// FLOP/s of all ranks' teams together, each thread in a loop of independent multiply-adds, all at the same time. Collective.
double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels);

}  // namespace gyre
