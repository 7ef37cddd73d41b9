#include "runtime/schedules/travel.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace gyre {

Route grid_route(int ranks, int columns, const std::function<Shift(int step)>& shift) {
  const auto moved = [=](int rank, int rows_on, int columns_on) {
    const auto around = [](int index, int size) { return (index % size + size) % size; };
    return around(rank / columns + rows_on, ranks / columns) * columns + around(rank % columns + columns_on, columns);
  };
  const auto holder = [=](int origin, int step) { return moved(origin, shift(step).rows, shift(step).columns); };
  const auto origin = [=](int rank, int step) { return moved(rank, -shift(step).rows, -shift(step).columns); };
  return {.steps = ranks, .holder = holder, .origin = origin, .from = {}, .posted = {}};
}

Route ring_route(int ranks, int direction, int ahead) {
  Route route = grid_route(ranks, ranks, [=](int step) { return Shift{.columns = direction * step}; });
  for (int step = 0; step < ranks; ++step) {
    route.from.push_back(std::max(0, step - 1));
    route.posted.push_back(step - ahead);
  }
  return route;
}

Travel::Travel(Route route, std::vector<std::vector<int>> units, Range heads, const Needs& needs, int first_lane, AtHome at_home)
    : route_(std::move(route)),
      units_(std::move(units)),
      heads_(heads),
      needs_(needs),
      first_lane_(first_lane),
      at_home_(at_home),
      last_stop_(units_.size()),
      sent_in_(route_.steps),
      kept_until_(route_.steps) {
  for (int step = 0; step < route_.steps; ++step) kept_until_[step] = step;
  for (int step = 1; step < route_.steps; ++step) {
    const int from = route_.from[step];
    kept_until_[from] = std::max(kept_until_[from], step - 1);
    sent_in_[0].push_back(step);
    if (from > 0) sent_in_[from].push_back(step);
  }
  for (auto& steps : sent_in_) std::sort(steps.begin(), steps.end());

  int end = 0;
  for (const auto& list : units_) end = std::max(end, list.empty() ? 0 : list.back() + 1);
  columns_ = needs_.by_unit() ? 1 : static_cast<std::size_t>(heads_.size());
  since_.assign(static_cast<std::size_t>(end) * columns_ * route_.steps, kNever);
  for (int origin = 0; origin < std::ssize(units_); ++origin) {
    for (const int unit : units_[origin]) {
      for (std::size_t column = 0; column < columns_; ++column) trace(origin, unit, static_cast<int>(heads_.begin + column));
    }
  }
}

void Travel::trace(int origin, int unit, int head) {
  std::uint16_t* const since = &since_[(static_cast<std::size_t>(unit) * columns_ + (head - heads_.begin)) * route_.steps];
  since[0] = 0;
  for (int step = 1; step < route_.steps; ++step) {
    if (!needs_.needs(route_.holder(origin, step), unit, head)) continue;
    const std::uint16_t before = since[route_.from[step]];
    since[step] = before == kNever ? static_cast<std::uint16_t>(step) : before;
    last_stop_[origin] = std::max(last_stop_[origin], step);
  }
}

template <class History>
std::vector<CellRun> Travel::runs_where(int origin, History&& history) const {
  std::vector<CellRun> runs;
  const auto end = static_cast<int>(heads_.end);
  const int heads = needs_.by_unit() ? static_cast<int>(heads_.size()) : 1;
  for (int head = static_cast<int>(heads_.begin); head < end; head += heads) {
    std::uint16_t before = kNever;
    std::uint32_t next = 0;  // the unit that would prolong the last run
    for (const int unit : units_[origin]) {
      const std::uint16_t came = history(unit, head);
      const auto index = static_cast<std::uint32_t>(unit);
      if (came == kNever) continue;
      if (came == before && index == next) {
        ++runs.back().units;
      } else {
        runs.push_back({index, 1, static_cast<std::uint16_t>(head), static_cast<std::uint16_t>(heads)});
      }
      before = came, next = index + 1;
    }
  }
  return runs;
}

int Travel::stop_after(int unit, int head, int step) const {
  for (int later = step + 1; later < route_.steps; ++later)
    if (since(later, unit, head) != kNever) return later;
  return kHome;
}

bool Travel::stops(int origin, int unit, int head, int step) const {
  if (step > 0) return since(step, unit, head) != kNever;
  if (at_home_ == AtHome::last) return false;
  return needs_.needs(origin, unit, head) || stop_after(unit, head, 0) == kHome;
}

int Travel::stop_before(int origin, int unit, int head, int step) const {
  for (int earlier = step - 1; earlier >= 0; --earlier)
    if (stops(origin, unit, head, earlier)) return earlier;
  return -1;
}

template <class Other>
std::vector<Travel::Link> Travel::links(int origin, Other&& other) const {
  std::set<int> found;
  runs_where(origin, [&](int unit, int head) {
    if (const int step = other(unit, head); step >= 0) found.insert(step);
    return kNever;
  });
  std::vector<Link> links;
  for (const int step : found) {
    links.push_back(
        {step, runs_where(origin, [&](int unit, int head) { return other(unit, head) == step ? std::uint16_t{0} : kNever; })});
  }
  return links;
}

std::vector<CellRun> Travel::stopping(int origin, int step) const {
  return runs_where(origin, [&](int unit, int head) { return stops(origin, unit, head, step) ? std::uint16_t{0} : kNever; });
}

std::vector<Travel::Link> Travel::came_from(int origin, int step) const {
  return links(origin, [&](int unit, int head) {
    return step > 0 && stops(origin, unit, head, step) ? stop_before(origin, unit, head, step) : -1;
  });
}

std::vector<Travel::Link> Travel::go_on_to(int origin, int step) const {
  return links(origin, [&](int unit, int head) { return stops(origin, unit, head, step) ? stop_after(unit, head, step) : -1; });
}

std::vector<CellRun> Travel::home(int rank) const {
  return runs_where(rank, [](int, int) { return std::uint16_t{0}; });
}

std::vector<CellRun> Travel::present(int rank, int step) const {
  return runs_where(route_.origin(rank, step), [&](int unit, int head) -> std::uint16_t {
    return step == 0 && !needs_.needs(rank, unit, head) ? kNever : (since(step, unit, head) == kNever ? kNever : std::uint16_t{0});
  });
}

std::vector<CellRun> Travel::passing(int origin, int step) const {
  return runs_where(origin, [&](int unit, int head) {
    const std::uint16_t came = since(step, unit, head);
    return came == step ? kNever : came;
  });
}

std::vector<CellRun> Travel::detouring(int origin, int step) const {
  return runs_where(origin, [&](int unit, int head) { return since(step, unit, head) == step ? std::uint16_t{0} : kNever; });
}

Arrival Travel::arriving(int rank, int step) const {
  const int origin = route_.origin(rank, step);
  return {.passed = {route_.holder(origin, route_.from[step]), lane(0), passing(origin, step)},
          .detour = {origin, lane(1), detouring(origin, step)}};
}

std::vector<Travel::Departure> Travel::leaving(int rank, int step) const {
  std::vector<Departure> departures;
  const auto add = [&](int held_since, int to, int which, std::vector<CellRun> runs) {
    if (!runs.empty()) departures.push_back({held_since, {to, lane(which), std::move(runs)}});
  };
  for (const int theirs : sent_in_[step]) {
    const int from = route_.from[theirs];
    if (from > 0 && from == step) {
      const int origin = route_.origin(rank, step);
      add(step, route_.holder(origin, theirs), 0, passing(origin, theirs));
    }
    if (step > 0) continue;
    const int to = route_.holder(rank, theirs);
    if (from == 0) add(0, to, 0, passing(rank, theirs));
    add(0, to, 1, detouring(rank, theirs));
  }
  return departures;
}

}  // namespace gyre
