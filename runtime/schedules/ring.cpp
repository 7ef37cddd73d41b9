#include "runtime/schedules/ring.hpp"

#include <memory>

#include "runtime/schedules/circulate.hpp"

namespace gyre {

Schedule ring_schedule(const Layout& layout, int prefetch) {
  auto circulation = std::make_shared<Circulation>(layout, layout.queries);
  circulation->travel({{ring_route(layout.ranks, 1, prefetch), units_by_rank(layout.keys), {0, layout.problem.key_heads}}});
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
