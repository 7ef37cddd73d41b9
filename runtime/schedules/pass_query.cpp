#include "runtime/schedules/pass_query.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "partition/work.hpp"
#include "runtime/schedules/travel.hpp"
#include "runtime/schedules/turns.hpp"

namespace gyre {
namespace {

constexpr std::uint8_t kReturns = 2;  // the lane of results; queries use 0 and 1

struct PassQuery {
  const Layout& layout;
  Needs needs;  // of query cells
  Travel way;

  PassQuery(const Layout& a_layout, int prefetch)
      : layout(a_layout),
        needs(Needs::of_queries(layout.bands(), layout.query_units, layout.key_units, layout.problem.first_query_position(),
                                layout.keys, {layout.problem.key_heads, layout.problem.group()})),
        way(ring_route(layout.ranks, 1, prefetch), units_by_rank(layout.queries), {0, layout.problem.key_heads}, needs) {}
  PassQuery(const PassQuery&) = delete;  // way refers to needs

  Program build(int rank) const;
};

/// What a rank does for the queries that visit it.
class Host {
 public:
  Host(const PassQuery& all, int rank, ProgramBuilder& builder)
      : way_(all.way), layout_(all.layout), rank_(rank), builder_(builder), visits_(way_.steps()) {
    plan_visits();
  }

  /// Step: also negative.
  void ask(int step) {
    for (const int theirs : asked_[step]) {
      const auto& [arrival, slot] = visits_[theirs];
      const auto stage = static_cast<std::uint32_t>(theirs);
      for (const auto& [parcel, part] :
           {std::pair(&arrival.passed, in_[slot].parts[0]), std::pair(&arrival.detour, in_[slot].parts[1])}) {
        if (parcel->runs.empty()) continue;
        builder_.add({.op = Op::receive, .lane = parcel->lane, .out = part, .peer = parcel->peer, .stage = stage}, parcel->runs);
      }
    }
  }
  void pass_on(int step, SlotId own) {
    for (const auto& [held_since, parcel] : way_.leaving(rank_, step)) {
      const SlotId from = held_since == 0 ? own : in_[visits_[held_since].slot].whole;
      builder_.add({.op = Op::send,
                    .lane = parcel.lane,
                    .in = {from, kNoSlot},
                    .peer = parcel.peer,
                    .stage = static_cast<std::uint32_t>(step)},
                   parcel.runs);
    }
  }
  void serve(int step, SlotId keys, const std::vector<CellRun>& key_runs) {
    if (step == 0 || visits_[step].slot < 0) return;
    const auto stage = static_cast<std::uint32_t>(step);
    const auto rows = way_.present(rank_, step);
    const SlotId result = results_[step % 2];
    builder_.add({.function = Function::clear, .out = partial_, .stage = stage}, rows);
    builder_.add({.op = Op::attend, .out = partial_, .in = {in_[visits_[step].slot].whole, keys}, .stage = stage}, key_runs);
    builder_.add({.function = Function::settle, .out = result, .in = {partial_, kNoSlot}, .stage = stage}, rows);
    builder_.add({.op = Op::send, .lane = kReturns, .in = {result, kNoSlot}, .peer = way_.origin(rank_, step), .stage = stage},
                 rows);
  }

 private:
  struct Visit {
    Arrival arrival;
    int slot = -1;  // of in_
  };

  void plan_visits() {
    std::int64_t rows = 0, results = 0;
    for (int step = 1; step < way_.steps(); ++step) {
      visits_[step].arrival = way_.arriving(rank_, step);
      if (visits_[step].arrival.empty()) continue;
      asked_[way_.posted(step)].push_back(step);
      const auto present = way_.present(rank_, step);
      rows = std::max(rows, layout_.run_bytes(Role::partial, present));
      results = std::max(results, layout_.run_bytes(Role::result, present));
    }
    Turns turns;
    for (const auto& [begin, steps] : asked_) {
      for (const int step : steps) {
        const Arrival& arrival = visits_[step].arrival;
        visits_[step].slot = turns.take({begin, way_.kept_until(step), layout_.run_bytes(Role::query, arrival.passed.runs),
                                         layout_.run_bytes(Role::query, arrival.detour.runs)});
      }
    }
    for (const Turns::Slot& slot : turns.slots) {
      const std::int64_t parts[] = {slot.passed_bytes, slot.detour_bytes};
      in_.push_back(builder_.divided_slot(Role::query, parts));
    }
    partial_ = builder_.arena_slot(Role::partial, rows);
    for (SlotId& slot : results_) slot = builder_.arena_slot(Role::result, results);
  }

  const Travel& way_;
  const Layout& layout_;
  int rank_;
  ProgramBuilder& builder_;
  std::vector<Visit> visits_;              // [step]
  std::map<int, std::vector<int>> asked_;  // by the step in which they are asked for
  std::vector<ProgramBuilder::DividedSlot> in_;
  SlotId partial_ = kNoSlot, results_[2] = {kNoSlot, kNoSlot};
};

Program PassQuery::build(int rank) const {
  const auto query_runs = way.home(rank);
  const auto key_runs = runs_of_units(layout.key_units_of(rank), layout.problem.key_heads);
  ProgramBuilder builder(rank);
  const SlotId q = builder.user_slot(true), k = builder.user_slot(true), v = builder.user_slot(true),
               out = builder.user_slot(false);
  const SlotId query = builder.arena_slot(Role::query, layout.run_bytes(Role::query, query_runs));
  const SlotId keys = builder.arena_slot(Role::key_value, layout.run_bytes(Role::key_value, key_runs));
  const SlotId partial = builder.arena_slot(Role::partial, layout.run_bytes(Role::partial, query_runs));
  const std::int64_t result_bytes = layout.run_bytes(Role::result, query_runs);
  const SlotId home[2] = {builder.arena_slot(Role::result, result_bytes), builder.arena_slot(Role::result, result_bytes)};
  Host host(*this, rank, builder);

  // What comes home from the rank that the queries visit in a step.
  const auto found_at = [&](int step) {
    return step < 1 || step >= way.steps() ? std::vector<CellRun>{} : way.present(way.holder(rank, step), step);
  };
  const auto ask_for_result = [&](int step) {
    const auto runs = found_at(step);
    if (runs.empty()) return;
    builder.add({.op = Op::receive,
                 .lane = kReturns,
                 .out = home[step % 2],
                 .peer = way.holder(rank, step),
                 .stage = static_cast<std::uint32_t>(step)},
                runs);
  };
  const auto take_in = [&](int step) {
    const auto runs = found_at(step);
    if (!runs.empty())
      builder.add({.op = Op::combine, .out = partial, .in = {home[step % 2], kNoSlot}, .stage = static_cast<std::uint32_t>(step)},
                  runs);
  };

  for (int step = -kMostPrefetch; step < 0; ++step) host.ask(step);
  builder.add({.function = Function::pack_query, .out = query, .in = {q, kNoSlot}}, query_runs);
  builder.add({.function = Function::clear, .out = partial}, query_runs);
  host.ask(0);
  host.pass_on(0, query);
  builder.add({.function = Function::pack_key_value, .out = keys, .in = {k, v}}, key_runs);
  if (!key_runs.empty()) builder.add({.op = Op::attend, .out = partial, .in = {query, keys}}, key_runs);
  for (int step = 1; step < way.steps(); ++step) {
    host.ask(step);
    host.pass_on(step, query);
    ask_for_result(step);
    host.serve(step, keys, key_runs);
    take_in(step - 1);
  }
  take_in(way.steps() - 1);
  builder.add(
      {.function = Function::finish, .out = out, .in = {partial, kNoSlot}, .stage = static_cast<std::uint32_t>(way.steps() - 1)},
      query_runs);
  return std::move(builder).take();
}

}  // namespace

Schedule pass_query_schedule(const Layout& layout, int prefetch) {
  return [all = std::make_shared<const PassQuery>(layout, prefetch)](int rank) { return all->build(rank); };
}

}  // namespace gyre
