// Double ring attention (LoongTrain, 2406.18485, section 4.3): an inner ring inside nodes, an outer one between them.
//
// Rank (n, i) is the i-th of node n. While the cells that node n got from the one before go round inside it, those for its next
// round are already on their way, so that slow links between nodes have as many steps as there are ranks in a node.
//
//   step (S, t) of (n, i): the cells of (n - S, i - t)      t > 0: from (n, i - 1), its neighbour in the node
//                                                           t = 0: from (n - 1, i), asked for one outer step ahead
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// inner: ranks of a node, a divisor of the ranks. prefetch: steps of the inner ring, as in ring_schedule. The layout must outlive
/// the schedule.
Schedule double_ring_schedule(const Layout& layout, int inner, int prefetch, Travellers travellers = Travellers::keys);

}  // namespace gyre
