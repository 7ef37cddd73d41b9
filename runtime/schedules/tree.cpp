#include "runtime/schedules/tree.hpp"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include "partition/work.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {
namespace {

constexpr std::uint8_t kReturns = 2;  // the lane of results; queries use 0 and 1

int highest_bit(int step) {
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(step)));
}

Route tree_route(int ranks) {
  Route route = ring_route(ranks, 1, 0);
  for (int step = 1; step < ranks; ++step) {
    route.from[step] = step - highest_bit(step);
    route.posted[step] = -1;
  }
  return route;
}

using Runs = std::vector<CellRun>;

void append(Runs& runs, const Runs& more) {
  runs.insert(runs.end(), more.begin(), more.end());
}

class Tree {
 public:
  explicit Tree(const Layout& layout)
      : layout_(layout),
        needs_(needs_of_branches(layout)),
        way_(tree_route(layout.ranks), units_by_rank(layout.queries), {0, layout.problem.key_heads}, needs_) {}
  Tree(const Tree&) = delete;  // way_ refers to needs_
  Program build(int rank) const;

 private:
  /// A rank needs what it sees and what those see that it passes queries on to: their results come through it.
  static Needs needs_of_branches(const Layout& layout) {
    const int heads = layout.problem.key_heads;
    Needs needs = Needs::of_queries(layout.bands(), layout.query_units, layout.key_units, layout.problem.first_query_position(),
                                    layout.keys, {heads, layout.problem.group()});
    const Route route = tree_route(layout.ranks);
    for (int unit = 0; unit < layout.query_units.count(); ++unit) {
      for (int head = 0; head < (needs.by_unit() ? 1 : heads); ++head) {
        for (int step = route.steps - 1; step > 0; --step) {
          const int owner = layout.queries.owner(unit);
          if (needs.needs(route.holder(owner, step), unit, head)) needs.add(route.holder(owner, route.from[step]), unit, head);
        }
      }
    }
    return needs;
  }
  int wrapped(int rank) const { return (rank % layout_.ranks + layout_.ranks) % layout_.ranks; }
  /// Cells that a rank has in steps [begin, end).
  Runs rows(int rank, int begin, int end) const {
    Runs all;
    for (int step = begin; step < std::min(end, way_.steps()); ++step) append(all, way_.present(rank, step));
    return all;
  }

  const Layout& layout_;
  Needs needs_;
  Travel way_;
};

Program Tree::build(int rank) const {
  const int steps = way_.steps();
  const auto query_runs = way_.home(rank);
  const auto key_runs = runs_of_units(layout_.key_units_of(rank), layout_.problem.key_heads);
  const Runs visitors = rows(rank, 1, steps);
  ProgramBuilder builder(rank);
  const SlotId q = builder.user_slot(true), k = builder.user_slot(true), v = builder.user_slot(true),
               out = builder.user_slot(false);
  const SlotId query = builder.arena_slot(Role::query, layout_.run_bytes(Role::query, query_runs));
  const SlotId keys = builder.arena_slot(Role::key_value, layout_.run_bytes(Role::key_value, key_runs));
  const SlotId partial = builder.arena_slot(Role::partial, layout_.run_bytes(Role::partial, query_runs));
  std::vector<std::int64_t> parts;
  for (int step = 1; step < steps; ++step) parts.push_back(layout_.run_bytes(Role::query, way_.arriving(rank, step).passed.runs));
  const auto visiting = builder.divided_slot(Role::query, parts);
  const SlotId visiting_partial = builder.arena_slot(Role::partial, layout_.run_bytes(Role::partial, visitors));

  // Queries come and are passed on.
  for (int step = 1; step < steps; ++step) {
    const Parcel parcel = way_.arriving(rank, step).passed;
    if (!parcel.runs.empty())
      builder.add({.op = Op::receive, .lane = parcel.lane, .out = visiting.parts[step - 1], .peer = parcel.peer}, parcel.runs);
  }
  builder.add({.function = Function::pack_query, .out = query, .in = {q, kNoSlot}}, query_runs);
  builder.add({.function = Function::clear, .out = partial}, query_runs);
  for (int step = 0; step < steps; ++step) {
    for (const auto& [held_since, parcel] : way_.leaving(rank, step)) {
      const SlotId from = held_since == 0 ? query : visiting.parts[held_since - 1];
      builder.add({.op = Op::send, .lane = parcel.lane, .in = {from, kNoSlot}, .peer = parcel.peer}, parcel.runs);
    }
  }
  builder.add({.function = Function::pack_key_value, .out = keys, .in = {k, v}}, key_runs);
  if (!visitors.empty()) builder.add({.function = Function::clear, .out = visiting_partial}, visitors);
  if (!key_runs.empty() && !visitors.empty())
    builder.add({.op = Op::attend, .out = visiting_partial, .in = {visiting.whole, keys}}, key_runs);
  if (!key_runs.empty()) builder.add({.op = Op::attend, .out = partial, .in = {query, keys}}, key_runs);

  // Results go back, round by round: those of steps [distance, 2 distance) to the rank that is so far away.
  std::uint32_t round = 0;
  for (int distance = highest_bit(std::max(1, steps - 1)); distance > 0 && steps > 1; distance /= 2) {
    ++round;
    const int from = wrapped(rank + distance), to = wrapped(rank - distance);
    const Runs arriving = rows(from, distance, 2 * distance), leaving = rows(rank, distance, 2 * distance);
    SlotId arrived = kNoSlot;
    if (!arriving.empty()) {
      arrived = builder.arena_slot(Role::result, layout_.run_bytes(Role::result, arriving));
      builder.add({.op = Op::receive, .lane = kReturns, .out = arrived, .peer = from, .stage = round}, arriving);
    }
    if (!leaving.empty()) {
      const SlotId slot = builder.arena_slot(Role::result, layout_.run_bytes(Role::result, leaving));
      builder.add({.function = Function::settle, .out = slot, .in = {visiting_partial, kNoSlot}, .stage = round}, leaving);
      builder.add({.op = Op::send, .lane = kReturns, .in = {slot, kNoSlot}, .peer = to, .stage = round}, leaving);
    }
    const auto take_in = [&](SlotId into, const Runs& runs) {
      if (!runs.empty()) builder.add({.op = Op::combine, .out = into, .in = {arrived, kNoSlot}, .stage = round}, runs);
    };
    take_in(partial, way_.present(from, distance));
    take_in(visiting_partial, rows(from, distance + 1, 2 * distance));
  }
  builder.add({.function = Function::finish, .out = out, .in = {partial, kNoSlot}, .stage = round}, query_runs);
  return std::move(builder).take();
}

}  // namespace

Schedule tree_schedule(const Layout& layout) {
  return [tree = std::make_shared<const Tree>(layout)](int rank) { return tree->build(rank); };
}

}  // namespace gyre
