// What a call would take on a machine: the programs of all ranks, run against the clock of a model instead of a transport.
//
// The rules are the executor's: a rank posts its instructions in program order, each as soon as its sources are complete
// (scoreboard.hpp); transfers run while it computes; a transfer begins when both sides have posted it, and the k-th send from a to
// b on a lane is b's k-th receive. Nothing here knows a schedule. On top of that:
//
//   - flows share links (flows.hpp); what a rank sends another follows in order;
//   - what transfers take of a processor (posting messages, copying what arrives) prolongs what the rank computes next, and costs
//     nothing while it waits;
//   - loans cost a flag each way: borrowed cells are read where they lie, as fast as own ones.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/costs.hpp"
#include "runtime/layout.hpp"
#include "runtime/machine.hpp"
#include "runtime/program.hpp"
#include "runtime/timeline.hpp"

namespace gyre {

/// One rank in one call.
struct SimulatedRank {
  double seconds = 0;            // until its part is complete
  double computing_seconds = 0;  // in attend
  double packing_seconds = 0;    // in apply and combine
  double waiting_seconds = 0;    // for transfers, with nothing to compute
  std::int64_t bytes_sent = 0;   // by messages
  std::int64_t bytes_borrowed = 0;
  std::int64_t bytes_between_nodes = 0;  // sent to other nodes
  std::int64_t messages = 0;             // sent
  std::int64_t memory_bytes = 0;         // of slots
};

struct Simulation {
  std::vector<SimulatedRank> ranks;

  double seconds() const;                        // of the slowest rank
  double exposed_communication_seconds() const;  // less what that would take if transfers were complete at once
};

/// Told of the stretches of time of every rank, as they end; in seconds since all ranks began.
using Watch = std::function<void(int rank, const TimelineEvent&)>;

/// Throws std::logic_error if ranks wait for each other for ever, which verified programs do not. nodes: of every rank, from 0.
/// counts: over the layout that the schedule was made for; may serve several schedules.
Simulation simulate(const Schedule& schedule, std::span<const int> nodes, const Machine& machine, PairCounts& counts,
                    const Watch& watch = {});

}  // namespace gyre
