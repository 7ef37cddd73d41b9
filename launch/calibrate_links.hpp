// What the links between ranks carry, by pair class: ranks of one node, ranks of two nodes.
#pragma once

#include <optional>
#include <string>

#include "comm/transport.hpp"
#include "launch/calibrate_request.hpp"
#include "runtime/machine.hpp"

namespace gyre {

/// Messages of a pair class. Medians of rounds, and of these over the pairs that were measured at once.
struct LinkFigures {
  int pairs = 0;
  std::size_t message_bytes = 0;  // of the large message; rates are of what it has beyond a quarter of it, so that neither latency
                                  // nor what a shaped link passes for free counts
  double latency_seconds = 0;     // half a round trip of 8 bytes
  double one_way_bytes_per_second = 0;
  double both_ways_bytes_per_second = 0;    // of each way
  double beside_work_bytes_per_second = 0;  // the same, with attention computed beside it and the transport polled as then
  double message_seconds = 0;               // of a side, for each of many small messages
  double processor_seconds_per_byte = 0;    // what computing took longer, by a byte that came (and one that went)
};

/// Reading a neighbour's memory where it lies.
struct LoanFigures {
  double loan_seconds = 0;  // until the other side sees a flag
  double neighbour_bytes_per_second = 0;
  double own_bytes_per_second = 0;
};

struct AllLinkFigures {
  std::optional<LinkFigures> node, network;  // nothing: there is no such pair of ranks
  std::optional<LoanFigures> loans;
  std::string unshared;                   // why ranks of a node cannot share memory
  int ranks_per_node = 1;                 // as many pairs between two nodes at once
  double node_link_bytes_per_second = 0;  // of all of them together, each way; 0: there is no second node
};

/// Collective; the same on every rank.
AllLinkFigures measure_links(Transport& transport, const CalibrateRequest& request);

}  // namespace gyre
