#include "runtime/schedules/bidirectional_ring.hpp"

#include <memory>
#include <vector>

#include "runtime/schedules/circulate.hpp"

namespace gyre {

Schedule bidirectional_ring_schedule(const Layout& layout, int prefetch, Travellers travellers) {
  auto circulation = std::make_shared<Circulation>(layout, travellers);
  const int heads = layout.problem.key_heads;
  std::vector<Journey> journeys;
  const bool by_heads = heads % 2 == 0;
  for (const int way : {0, 1}) {
    auto units = circulation->travelling_units();
    for (auto& list : units) {
      if (by_heads) continue;
      const auto middle = list.begin() + (std::ssize(list) + 1) / 2;
      way == 0 ? list.erase(middle, list.end()) : list.erase(list.begin(), middle);
    }
    const Range half = by_heads ? Range{way * heads / 2, (way + 1) * heads / 2} : Range{0, heads};
    journeys.push_back({ring_route(layout.ranks, way == 0 ? 1 : -1, prefetch), std::move(units), half, 2 * way});
  }
  circulation->travel(journeys);
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
