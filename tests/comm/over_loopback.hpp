// Runs a clause of the contract on the threads of a loopback world and gathers the complaints.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/contract.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/loopback_transport.hpp"

namespace contract {

inline std::string over_loopback(int ranks, const Clause& clause, int ranks_per_node = 0) {
  std::vector<std::string> complaints(ranks);
  gyre::run_loopback(
      ranks, [&](gyre::Transport& transport) { complaints[transport.rank()] = clause(transport); }, ranks_per_node);
  std::string all;
  for (int rank = 0; rank < ranks; ++rank) {
    if (!complaints[rank].empty()) all += "rank " + std::to_string(rank) + ": " + complaints[rank] + "\n";
  }
  return all;
}

inline std::string over_faulty_loopback(int ranks, gyre::Faults faults, const Clause& clause, int ranks_per_node = 0) {
  return over_loopback(
      ranks,
      [&](gyre::Transport& transport) {
        const auto faulty = gyre::faulty_transport(transport, faults);
        return clause(*faulty);
      },
      ranks_per_node);
}

}  // namespace contract
