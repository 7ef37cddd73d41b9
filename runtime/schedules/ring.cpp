#include "runtime/schedules/ring.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace gyre {
namespace {

/// What every rank of the ring holds at every stage. Made once for all ranks.
class Ring {
 public:
  Ring(const Layout& layout, int prefetch) : layout_(layout), prefetch_(prefetch), reach_(layout.key_units.count(), 0) {
    for (int rank = 0; rank < layout.ranks; ++rank) {
      query_units_.push_back(layout.query_units_of(rank));
      key_units_.push_back(layout.key_units_of(rank));
    }
    for (int unit = 0; unit < layout.key_units.count(); ++unit) {
      for (int hops = layout.ranks - 1; hops > 0 && reach_[unit] == 0; --hops) {
        if (layout.needs.needs((layout.keys.owner(unit) + hops) % layout.ranks, unit)) reach_[unit] = hops;
      }
    }
  }

  Program build(int rank) const;

 private:
  int origin(int rank, int hops) const { return (rank - hops + layout_.ranks) % layout_.ranks; }

  /// Units that arrive at a rank after that many hops: those that it or somebody further along needs.
  std::vector<int> arriving(int rank, int hops) const {
    std::vector<int> units = key_units_[origin(rank, hops)];
    std::erase_if(units, [&](int unit) { return reach_[unit] < hops; });
    return units;
  }

  std::vector<int> attended(int rank, int hops) const {
    std::vector<int> units = key_units_[origin(rank, hops)];
    std::erase_if(units, [&](int unit) { return !layout_.needs.needs(rank, unit); });
    return units;
  }

  std::vector<CellRun> runs(const std::vector<int>& units) const { return runs_of_units(units, layout_.problem.key_heads); }

  const Layout& layout_;
  int prefetch_;
  std::vector<std::vector<int>> query_units_, key_units_;  // [rank]
  std::vector<int> reach_;                                 // [key unit]: hops from its owner to the last rank that needs it
};

struct Slots {
  SlotId query, own, partial;
  std::vector<SlotId> passing;  // cells of stage t > 0 lie in passing[t % size]
  SlotId at(int stage) const { return stage == 0 ? own : passing[stage % passing.size()]; }
};

Program Ring::build(int rank) const {
  const int stages = layout_.ranks;
  const int next = (rank + 1) % stages;
  const int previous = origin(rank, 1);
  const auto query_runs = runs(query_units_[rank]);
  const auto own_runs = runs(key_units_[rank]);

  ProgramBuilder builder(rank);
  const SlotId q = builder.user_slot(true), k = builder.user_slot(true), v = builder.user_slot(true),
               out = builder.user_slot(false);
  Slots slots{.query = builder.arena_slot(Role::query, layout_.run_bytes(Role::query, query_runs)),
              .own = builder.arena_slot(Role::key_value, layout_.run_bytes(Role::key_value, own_runs)),
              .partial = builder.arena_slot(Role::partial, layout_.run_bytes(Role::partial, query_runs)),
              .passing = {}};
  std::int64_t largest = 0;
  for (int stage = 1; stage < stages; ++stage) {
    largest = std::max(largest, layout_.run_bytes(Role::key_value, runs(arriving(rank, stage))));
  }
  const int passing = std::min(prefetch_ + 1, stages - 1);
  for (int slot = 0; slot < passing; ++slot) slots.passing.push_back(builder.arena_slot(Role::key_value, largest));

  const auto receive = [&](int stage) {
    const auto units = stage < stages ? arriving(rank, stage) : std::vector<int>{};
    if (units.empty()) return;
    builder.add({.op = Op::receive, .out = slots.at(stage), .peer = previous, .stage = static_cast<std::uint32_t>(stage)},
                runs(units));
  };
  const auto send = [&](int stage) {  // what the next rank receives one stage later
    const auto units = stage + 1 < stages ? arriving(next, stage + 1) : std::vector<int>{};
    if (units.empty()) return;
    builder.add({.op = Op::send, .in = {slots.at(stage), kNoSlot}, .peer = next, .stage = static_cast<std::uint32_t>(stage)},
                runs(units));
  };
  const auto attend = [&](int stage) {
    const auto units = attended(rank, stage);
    if (units.empty()) return;
    builder.add(
        {.op = Op::attend, .out = slots.partial, .in = {slots.query, slots.at(stage)}, .stage = static_cast<std::uint32_t>(stage)},
        runs(units));
  };

  for (int stage = 1; stage + 1 < passing; ++stage) receive(stage);
  builder.add({.function = Function::pack_key_value, .out = slots.own, .in = {k, v}}, own_runs);
  builder.add({.function = Function::pack_query, .out = slots.query, .in = {q, kNoSlot}}, query_runs);
  builder.add({.function = Function::clear_partial, .out = slots.partial}, query_runs);
  for (int stage = 0; stage < stages; ++stage) {
    if (passing > 0) receive(stage + std::max(1, passing - 1));
    send(stage);
    attend(stage);
  }
  builder.add({.function = Function::finish, .out = out, .in = {slots.partial, kNoSlot}}, query_runs);
  return std::move(builder).take();
}

}  // namespace

Schedule ring_schedule(const Layout& layout, int prefetch) {
  return [ring = std::make_shared<const Ring>(layout, prefetch)](int rank) { return ring->build(rank); };
}

}  // namespace gyre
