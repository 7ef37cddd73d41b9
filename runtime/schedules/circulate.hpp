// Schedules in which keys come to queries: ring, bidirectional ring, double ring, all_gather, Ulysses, hybrid.
//
// They differ in two things alone: where queries are attended (where their rows are, or at whom their head is), and by which routes
// the keys travel. Queries that are attended elsewhere go there first, and their results come home at the end:
//
//   pack queries and keys, send queries away -> in every step: ask for later keys, pass keys on, attend those that are here
//                                            -> settle what visitors have accumulated, send it home, finish
//
// Own queries go first in the first step, while visitors arrive, and last in the last one, while their results travel.
//
// What no wire can hide is packing before the first byte leaves and attending after the last one came. So where there are few
// steps, cells travel in pieces: each is packed, sent, passed on and attended by itself.
#pragma once

#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// Some cells of every rank, and the route that they travel by.
struct Journey {
  Route route;
  std::vector<std::vector<int>> units;  // [origin], ascending
  Range heads;                          // begin and end
  int first_lane = 0;                   // of two
};

struct Circulation {
  const Layout& layout;                       // must outlive this
  Placement attending;                        // of query cells, by (unit, head) or by unit
  Needs needs;                                // of key cells, where queries are attended
  std::vector<std::vector<int>> query_units;  // [rank]
  std::vector<Travel> ways;                   // of key cells: each travels on one of them; as many steps on all

  /// attending: the layout's own placement of queries, or another one of all heads.
  Circulation(const Layout& layout, Placement attending);
  Circulation(const Circulation&) = delete;  // ways refer to needs

  /// Makes ways of journeys, piece by piece: the first piece of each, then the second ones. As many steps in all.
  void travel(const std::vector<Journey>& journeys);
};

Program circulate(const Circulation& circulation, int rank);

}  // namespace gyre
