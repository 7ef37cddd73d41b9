#include "runtime/schedules/all_gather.hpp"

#include <algorithm>
#include <memory>

#include "runtime/schedules/circulate.hpp"

namespace gyre {
namespace {

Route straight_route(int ranks, int ahead) {
  Route route = ring_route(ranks, 1, ahead);
  std::fill(route.from.begin(), route.from.end(), 0);
  return route;
}

}  // namespace

Schedule all_gather_schedule(const Layout& layout, int prefetch, Travellers travellers) {
  auto circulation = std::make_shared<Circulation>(layout, travellers);
  circulation->travel({{straight_route(layout.ranks, prefetch), circulation->travelling_units(), {0, layout.problem.key_heads}}});
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
