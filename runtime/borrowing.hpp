// Lowering for ranks that share memory: inside a node, nothing travels.
//
// A receive of cells whose owner is on the same node becomes a borrow from that owner (never from the rank that would have passed
// them on), the owner exposes its packed cells once for each borrow, and whoever would have sent them sends nothing. What comes
// from other nodes is received as before; slots shrink to what is still received. Attends do not change, and so neither does a bit
// of the result.
//
// Two nodes of two ranks, a full ring:  rank 1 at stage 1   receive 0's cells from 0      becomes   borrow them from 0
//                                       rank 1 at stage 2   receive 3's cells from 0      stays
//                                       rank 1 at stage 1   send 0's cells to 2           stays, from where 0 has them
#pragma once

#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// nodes: of every rank. The schedule packs a rank's key/value cells at once, and its slots overlap only as parts of a whole; keys
/// are placed by unit. The layout must outlive the result, which builds the programs of all ranks of a node to know who borrows
/// what from whom.
Schedule borrow_inside_nodes(Schedule schedule, const Layout& layout, std::vector<int> nodes);

}  // namespace gyre
