#include "runtime/schedules/double_ring.hpp"

#include <algorithm>
#include <memory>

#include "runtime/schedules/circulate.hpp"

namespace gyre {
namespace {

Route double_ring_route(int ranks, int inner, int ahead) {
  Route route = grid_route(ranks, inner, [=](int step) { return Shift{step / inner, step % inner}; });
  for (int step = 0; step < ranks; ++step) {
    const bool outer = step % inner == 0;
    route.from.push_back(std::max(0, outer ? step - inner : step - 1));
    route.posted.push_back(outer ? step - std::max(inner, ahead) : step - ahead);
  }
  return route;
}

}  // namespace

Schedule double_ring_schedule(const Layout& layout, int inner, int prefetch, Travellers travellers) {
  auto circulation = std::make_shared<Circulation>(layout, travellers);
  circulation->travel(
      {{double_ring_route(layout.ranks, inner, prefetch), circulation->travelling_units(), {0, layout.problem.key_heads}}});
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
