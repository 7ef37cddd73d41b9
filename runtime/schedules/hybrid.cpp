#include "runtime/schedules/hybrid.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "partition/work.hpp"
#include "runtime/schedules/circulate.hpp"

namespace gyre {
namespace {

Route hybrid_route(int ranks, int group, int ahead) {
  const int groups = ranks / group;
  Route route = grid_route(ranks, group, [=](int step) { return Shift{step % groups, -(step / groups)}; });
  for (int step = 0; step < ranks; ++step) {
    route.from.push_back(step % groups == 0 ? 0 : step - 1);
    route.posted.push_back(step - ahead);
  }
  return route;
}

}  // namespace

Placement heads_inside_groups(const Layout& layout, int group) {
  const int heads = layout.problem.key_heads;
  const auto work = count_work(layout.bands(), layout.query_units, layout.key_units, layout.problem.first_query_position());
  std::vector<std::int32_t> owners(static_cast<std::size_t>(layout.query_units.count()) * heads);
  std::vector<std::vector<int>> units(layout.ranks / group);  // of each group, ascending
  for (int unit = 0; unit < layout.query_units.count(); ++unit) units[layout.queries.owner(unit) / group].push_back(unit);
  for (int first = 0; first < layout.ranks; first += group) {
    double all = 0, before = 0;
    // A unit that sees nothing still has to be finished by somebody.
    const auto weight = [&](int unit) { return static_cast<double>(std::max<std::int64_t>(work[unit], 1)); };
    for (const int unit : units[first / group]) all += weight(unit) * heads;
    for (int head = 0; head < heads; ++head) {
      for (const int unit : units[first / group]) {
        const double middle = before + weight(unit) / 2;
        const int member = std::min(group - 1, static_cast<int>(middle / all * group));
        owners[static_cast<std::size_t>(unit) * heads + head] = first + member;
        before += weight(unit);
      }
    }
  }
  return {layout.ranks, std::move(owners), heads};
}

Schedule hybrid_schedule(const Layout& layout, int group, int prefetch, Travellers travellers) {
  auto circulation =
      std::make_shared<Circulation>(layout, travellers, group == 1 ? layout.queries : heads_inside_groups(layout, group));
  circulation->travel(
      {{hybrid_route(layout.ranks, group, prefetch), circulation->travelling_units(), {0, layout.problem.key_heads}}});
  return [circulation](int rank) { return circulate(*circulation, rank); };
}

}  // namespace gyre
