// What circulates: which cells travel and which stay, where those that stay are attended, by which ways the others come to them.
//
// Forward keys travel and queries stay. Backward keys travel with their gradients, and what stays are queries with the gradients of
// their outputs, which accumulate their own gradients. Or (BurstAttention, 2403.09347) it is queries that travel so, and keys that
// stay and accumulate theirs. A step moves, for q query tokens of H heads and k key tokens of G heads,
//
//   keys       k G (d + e) elements, as they are stored, and k G (d + e) floats of gradients
//   queries    q H (d + e) elements, and q H (d + 2) floats
//
// so where q = k and d = e = 128, queries are cheaper from G > 0.75 H on (fp32; 0.67 H with 16 bits): where no heads share keys.
//
// What no wire can hide is packing before the first byte leaves and attending after the last one came. So where there are few
// steps, cells travel in pieces: each is packed, sent, passed on and attended by itself.
#pragma once

#include <vector>

#include "runtime/layout.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

/// Some cells of every rank, and the route that they travel by.
struct Journey {
  Route route;
  std::vector<std::vector<int>> units;  // [origin], ascending
  Range heads;                          // begin and end
  int first_lane = 0;                   // of two
};

/// Who plays which part.
struct Cast {
  Role travels, travelling_gradient;  // Role::rows: none
  Role stays, sum;                    // the cells of the other axis, and what they accumulate
  explicit Cast(Travellers travellers);
  bool backward() const { return travelling_gradient != Role::rows; }
};

struct Circulation {
  const Layout& layout;  // must outlive this
  Cast cast;
  Placement attending;                          // of cells that stay, by (unit, head) or by unit
  Needs needs;                                  // of travelling cells, where those that stay are attended
  std::vector<std::vector<int>> staying_units;  // [rank]
  std::vector<Travel> ways;                     // of travelling cells: each travels on one of them; as many steps on all

  /// Cells that stay are attended where their rows are.
  Circulation(const Layout& layout, Travellers travellers);
  /// Query cells are attended elsewhere: of all heads. travellers: not queries.
  Circulation(const Layout& layout, Travellers travellers, Placement attending);
  Circulation(const Circulation&) = delete;  // ways refer to needs

  const Placement& home_of(Role role) const { return of_keys(role) ? layout.keys : layout.queries; }
  /// Of travelling cells, [origin].
  std::vector<std::vector<int>> travelling_units() const { return units_by_rank(home_of(cast.travels)); }

  /// Makes ways of journeys, piece by piece: the first piece of each, then the second ones. As many steps in all.
  void travel(const std::vector<Journey>& journeys);
};

}  // namespace gyre
