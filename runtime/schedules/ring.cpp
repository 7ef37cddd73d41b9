#include "runtime/schedules/ring.hpp"

#include <memory>

#include "runtime/schedules/circulate.hpp"

namespace gyre {

Schedule ring_schedule(const Layout& layout, int prefetch, Travellers travellers) {
  auto circulation = std::make_shared<Circulation>(layout, travellers);
  circulation->travel({{ring_route(layout.ranks, 1, prefetch), circulation->travelling_units(), {0, layout.problem.key_heads}}});
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
