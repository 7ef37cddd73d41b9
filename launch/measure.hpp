// How long a forward takes on every rank, and how fast the cores that it ran on can multiply and add.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "launch/live_line.hpp"
#include "runtime/attention.hpp"

namespace gyre {

/// One rank in the median repetition; bytes are a call's.
struct RankFigures {
  CallTime call;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_borrowed = 0;
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

  /// The same work with communication switched off, in calls between those above.
  struct Silent {
    double seconds = 0;  // median, slowest rank
    double cpu_seconds = 0;
  };
  std::optional<Silent> silent;

  /// What transfers cost in time: median less median. Not below zero, since it is noise that would make it so.
  std::optional<double> exposed_communication_seconds() const;

  Spread spread(double CallTime::*part) const;
  Spread spread(std::uint64_t RankFigures::*part) const;
  std::uint64_t sum(std::uint64_t RankFigures::*part) const;
};

/// The last repetition of a series, on this rank. Seconds of its steady clock.
struct RecordedCall {
  double began_seconds = 0;
  Timeline timeline;
};

struct CallPlan {
  int repetitions = 1;
  bool warm_up = false;
  bool silent_too = false;           // a call without communication before each of the others, after a warm-up
  bool ranks_share_process = false;  // all of them are threads of this process
  RecordedCall* record = nullptr;
  LiveLine* live = nullptr;
  std::span<const double> replay = {};  // CallOptions::replay, of this rank
};

/// Calls that a plan makes, all kinds together.
int calls_of(const CallPlan& plan);

/// One call, forward or backward.
using Call = std::function<CallTime(const CallOptions&)>;

/// Calls as planned; the last one is with communication, so that its results stand. pass: before what a display says of each.
/// Collective; every rank returns the same.
Measurement measure_calls(Transport& transport, const Call& call, const CallPlan& plan, const std::string& pass = "");

/// FLOP/s of all ranks' teams together, each thread in a loop of independent multiply-adds, all at the same time. Collective.
double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels, Type cells);

}  // namespace gyre
