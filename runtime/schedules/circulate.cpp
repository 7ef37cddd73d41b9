#include "runtime/schedules/circulate.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "runtime/schedules/homeward.hpp"
#include "runtime/schedules/turns.hpp"

namespace gyre {
namespace {

constexpr std::uint8_t kShares = 13, kVisits = 14, kReturns = 15;  // lanes of gradients, queries and results; keys use those below

using Runs = std::vector<CellRun>;

/// A rank's part in a circulation, built instruction by instruction.
class Circle {
 public:
  Circle(const Circulation& all, int rank)
      : all_(all), layout_(all.layout), cast_(all.cast), rank_(rank), builder_(rank, pass_of(all)) {}
  Program build() &&;

 private:
  struct Arrived {  // the cells of one way in one step
    Arrival arrival;
    int slot = -1;  // of in_
  };
  struct Rows {  // some cells that stay and what they accumulate
    Runs runs;
    SlotId cells = kNoSlot, sum = kNoSlot;
  };
  struct Turn {
    int step = 0, way = 0;
    int cells_of = 0;  // the step in which its cells came; 0: own ones
    bool operator==(const Turn&) const = default;
  };

  static Pass pass_of(const Circulation& all) { return all.cast.backward() ? Pass::backward : Pass::forward; }

  int steps() const { return all_.ways.front().steps(); }
  int last_step() const;
  int ways() const { return static_cast<int>(all_.ways.size()); }
  bool has_visitors() const { return !visitors_.runs.empty(); }
  std::int64_t bytes(Role role, const Runs& runs) const { return layout_.run_bytes(role, runs); }
  Runs cells(int owner, int attender) const;
  void sort_queries();
  void plan_arrivals();
  void make_slots();
  void make_slots_of_visits();
  void add(Instruction instruction, int step, const Runs& runs) {
    instruction.stage = static_cast<std::uint32_t>(std::clamp(step, 0, steps() - 1));
    builder_.add(instruction, runs);
  }
  void ask(int step);
  void ask_for_results(int step);
  void pass_on(int way, int step);
  void pack_and_send();
  void send_queries_away();
  void pack(SlotId slot, Role role, int step, const Runs& runs);
  void attend(const Rows& rows, int way, int step);
  void attend_backward(const Rows& rows, int way, int step, SlotId fresh, int now);
  void go_round_forward();
  void go_round_backward();
  std::vector<Turn> turns() const;
  void attend_turn(const Turn& turn, SlotId fresh, bool last);
  void send_results_home(int step);
  void finish();

  const Circulation& all_;
  const Layout& layout_;
  const Cast& cast_;
  int rank_;
  ProgramBuilder builder_;
  std::optional<Homeward> homeward_;           // backward
  Rows mine_, visitors_;                       // own rows attended here, others' rows
  std::map<int, Runs> from_, away_;            // visitors by owner; own rows that are attended elsewhere, by whom
  std::vector<std::vector<Arrived>> arrived_;  // [way][step]
  struct Asked {
    int way, step;
  };
  std::map<int, std::vector<Asked>> asked_;  // by the step in which they are asked for, the first before anything is packed
  std::vector<ProgramBuilder::DividedSlot> in_;
  std::map<int, SlotId> visiting_, settled_, home_;  // by peer: query parts, results that go home, results that come home
  std::vector<SlotId> own_;                          // [way]
  SlotId user_[4] = {};                              // queries, keys, values, gradients of outputs
  SlotId out_ = kNoSlot, sent_away_ = kNoSlot;
};

/// Staying cells of an owner that another rank attends.
Runs Circle::cells(int owner, int attender) const {
  const Placement& attending = all_.attending;
  const int heads = layout_.problem.key_heads;
  const std::vector<int>& units = all_.staying_units[owner];
  if (attending.by_unit()) {
    std::vector<int> kept = units;
    std::erase_if(kept, [&](int unit) { return attending.owner(unit) != attender; });
    return runs_of_units(kept, heads);
  }
  Runs all;
  for (int head = 0; head < heads; ++head) {
    std::vector<int> kept = units;
    std::erase_if(kept, [&](int unit) { return attending.owner(unit, head) != attender; });
    const Runs runs = runs_of_units(kept, 1, head);
    all.insert(all.end(), runs.begin(), runs.end());
  }
  return all;
}

void Circle::sort_queries() {
  mine_.runs = cells(rank_, rank_);
  if (all_.attending == all_.home_of(cast_.stays)) return;
  for (int hops = 1; hops < layout_.ranks; ++hops) {
    const int next = (rank_ + hops) % layout_.ranks, previous = (rank_ - hops + layout_.ranks) % layout_.ranks;
    if (Runs runs = cells(rank_, next); !runs.empty()) away_.emplace(next, std::move(runs));
    if (Runs runs = cells(previous, rank_); !runs.empty()) from_.emplace(previous, std::move(runs));
  }
  for (const auto& [owner, runs] : from_) visitors_.runs.insert(visitors_.runs.end(), runs.begin(), runs.end());
}

/// Each arrival gets a slot for as long as it is read.
void Circle::plan_arrivals() {
  arrived_.resize(all_.ways.size());
  for (int way = 0; way < ways(); ++way) {
    arrived_[way].resize(steps());
    for (int step = 1; step < steps(); ++step) {
      arrived_[way][step].arrival = all_.ways[way].arriving(rank_, step);
      if (!arrived_[way][step].arrival.empty()) asked_[all_.ways[way].posted(step)].push_back({way, step});
    }
  }
  Turns turns;
  for (const auto& [begin, list] : asked_) {
    for (const auto [way, step] : list) {
      Arrived& arrived = arrived_[way][step];
      arrived.slot = turns.take({begin, all_.ways[way].kept_until(step), bytes(cast_.travels, arrived.arrival.passed.runs),
                                 bytes(cast_.travels, arrived.arrival.detour.runs)});
    }
  }
  for (const Turns::Slot& slot : turns.slots) {
    const std::int64_t parts[] = {slot.passed_bytes, slot.detour_bytes};
    in_.push_back(builder_.divided_slot(cast_.travels, parts));
  }
}

void Circle::make_slots() {
  for (SlotId& slot : user_) slot = builder_.user_slot(true);
  out_ = builder_.user_slot(false);
  mine_.cells = builder_.arena_slot(cast_.stays, bytes(cast_.stays, mine_.runs));
  for (const Travel& way : all_.ways) own_.push_back(builder_.arena_slot(cast_.travels, bytes(cast_.travels, way.home(rank_))));
  mine_.sum = builder_.arena_slot(cast_.sum, bytes(cast_.sum, mine_.runs));
  plan_arrivals();
  make_slots_of_visits();
  if (!cast_.backward()) return;
  const SlotId gradient_rows = builder_.user_slot(false);
  homeward_.emplace(all_.ways, layout_, cast_.travelling_gradient, kShares, gradient_rows, rank_, builder_);
}

void Circle::make_slots_of_visits() {
  const Role share = share_of(cast_.sum);
  Runs all_away;
  for (const auto& [peer, runs] : away_) {
    all_away.insert(all_away.end(), runs.begin(), runs.end());
    home_[peer] = builder_.arena_slot(share, bytes(share, runs));
  }
  if (!away_.empty()) sent_away_ = builder_.arena_slot(cast_.stays, bytes(cast_.stays, all_away));
  if (!has_visitors()) return;
  std::vector<std::int64_t> parts;
  for (const auto& [owner, runs] : from_) parts.push_back(bytes(cast_.stays, runs));
  const auto cells = builder_.divided_slot(cast_.stays, parts);
  visitors_.cells = cells.whole;
  visitors_.sum = builder_.arena_slot(cast_.sum, bytes(cast_.sum, visitors_.runs));
  std::size_t part = 0;
  for (const auto& [owner, runs] : from_) {
    visiting_[owner] = cells.parts[part++];
    settled_[owner] = builder_.arena_slot(share, bytes(share, runs));
  }
}

/// Rows of the caller's into cells of some role.
void Circle::pack(SlotId slot, Role role, int step, const Runs& runs) {
  if (of_keys(role)) {
    add({.function = Function::pack_key_value, .out = slot, .in = {user_[1], user_[2]}}, step, runs);
  } else {
    const SlotId also = role == Role::backward_query ? user_[3] : kNoSlot;
    add({.function = Function::pack_query, .out = slot, .in = {user_[0], also}}, step, runs);
  }
}

void Circle::send_queries_away() {
  for (const auto& [owner, runs] : from_)
    add({.op = Op::receive, .lane = kVisits, .out = visiting_[owner], .peer = owner}, 0, runs);
  if (away_.empty()) return;
  Runs all;
  for (const auto& [peer, runs] : away_) all.insert(all.end(), runs.begin(), runs.end());
  pack(sent_away_, cast_.stays, 0, all);
  for (const auto& [peer, runs] : away_) add({.op = Op::send, .lane = kVisits, .in = {sent_away_, kNoSlot}, .peer = peer}, 0, runs);
}

void Circle::ask(int step) {
  const auto found = asked_.find(step);
  if (found == asked_.end()) return;
  for (const auto [way, theirs] : found->second) {
    const auto& [arrival, slot] = arrived_[way][theirs];
    const auto& parts = in_[slot].parts;
    for (const auto& [parcel, part] : {std::pair(&arrival.passed, parts[0]), std::pair(&arrival.detour, parts[1])}) {
      if (parcel->runs.empty()) continue;
      add({.op = Op::receive, .lane = parcel->lane, .out = part, .peer = parcel->peer}, theirs, parcel->runs);
    }
  }
}

void Circle::pass_on(int way, int step) {
  for (const auto& [held_since, parcel] : all_.ways[way].leaving(rank_, step)) {
    const SlotId from = held_since == 0 ? own_[way] : in_[arrived_[way][held_since].slot].whole;
    add({.op = Op::send, .lane = parcel.lane, .in = {from, kNoSlot}, .peer = parcel.peer}, step, parcel.runs);
  }
}

void Circle::pack_and_send() {
  for (int way = 0; way < ways(); ++way) {
    if (const Runs home = all_.ways[way].home(rank_); !home.empty()) pack(own_[way], cast_.travels, 0, home);
    pass_on(way, 0);
  }
}

/// The keys of a way that are here in this step.
void Circle::attend(const Rows& rows, int way, int step) {
  if (rows.runs.empty()) return;
  const Runs keys = all_.ways[way].present(rank_, step);
  if (keys.empty()) return;
  const SlotId from = step == 0 ? own_[way] : in_[arrived_[way][step].slot].whole;
  add({.op = Op::attend, .out = rows.sum, .in = {rows.cells, from}}, step, keys);
}

/// What travels and is here in this step (own cells: 0) accumulates in `fresh`.
void Circle::attend_backward(const Rows& rows, int way, int step, SlotId fresh, int now) {
  if (rows.runs.empty()) return;
  const Runs here = all_.ways[way].present(rank_, step);
  if (here.empty()) return;
  const SlotId from = step == 0 ? own_[way] : in_[arrived_[way][step].slot].whole;
  if (of_keys(cast_.travels)) {
    add({.op = Op::attend_backward, .out = rows.sum, .also_out = fresh, .in = {rows.cells, from}}, now, here);
  } else {
    add({.op = Op::attend_backward, .out = fresh, .also_out = rows.sum, .in = {from, rows.cells}}, now, rows.runs);
  }
}

/// The last step in which there is something to attend.
int Circle::last_step() const {
  for (int step = steps() - 1; step > 0; --step) {
    for (const auto& arrived : arrived_)
      if (arrived[step].slot >= 0) return step;
  }
  return 0;
}

void Circle::ask_for_results(int step) {
  for (const auto& [peer, runs] : away_) add({.op = Op::receive, .lane = kReturns, .out = home_[peer], .peer = peer}, step, runs);
}

void Circle::send_results_home(int step) {
  for (const auto& [owner, runs] : from_) {
    add({.function = Function::settle, .out = settled_[owner], .in = {visitors_.sum, kNoSlot}}, step, runs);
    add({.op = Op::send, .lane = kReturns, .in = {settled_[owner], kNoSlot}, .peer = owner}, step, runs);
  }
}

void Circle::finish() {
  const int step = steps() - 1;
  if (!mine_.runs.empty()) add({.function = Function::finish, .out = out_, .in = {mine_.sum, kNoSlot}}, step, mine_.runs);
  for (const auto& [peer, runs] : away_) add({.function = Function::finish, .out = out_, .in = {home_[peer], kNoSlot}}, step, runs);
}

void Circle::go_round_forward() {
  const int last = last_step();
  for (int step = 0; step < steps(); ++step) {
    if (step > 0) ask(step);
    if (step == last) ask_for_results(step);
    for (int way = 0; way < ways(); ++way) {
      if (step > 0) pass_on(way, step);
      if (step < last) attend(mine_, way, step);
    }
    for (int way = 0; way < ways(); ++way) attend(visitors_, way, step);
    if (step != last) continue;
    send_results_home(step);
    for (int way = 0; way < ways(); ++way) attend(mine_, way, step);
  }
}

/// The turns of a rank, in which something is attended, in their order: own cells go first or last (Travel::home_step).
std::vector<Circle::Turn> Circle::turns() const {
  std::vector<Turn> turns;
  for (int step = 0; step <= steps(); ++step) {
    for (int way = 0; way < ways(); ++way) {
      const Travel& travel = all_.ways[way];
      if (step > 0 && step < steps()) turns.push_back({step, way, step});
      if (travel.home_step(rank_) == step) turns.push_back({step, way, 0});
    }
  }
  std::erase_if(turns, [&](const Turn& turn) { return all_.ways[turn.way].present(rank_, turn.cells_of).empty(); });
  return turns;
}

/// Own cells go before visitors in the first step, while these arrive, and behind them later on; visitors' results leave behind
/// the last of them.
void Circle::attend_turn(const Turn& turn, SlotId fresh, bool last) {
  const bool mine_first = turn.step == 0 && !last;
  if (mine_first) attend_backward(mine_, turn.way, turn.cells_of, fresh, turn.step);
  attend_backward(visitors_, turn.way, turn.cells_of, fresh, turn.step);
  if (last) send_results_home(turn.step);
  if (!mine_first) attend_backward(mine_, turn.way, turn.cells_of, fresh, turn.step);
}

void Circle::go_round_backward() {
  const std::vector<Turn> all = turns();
  const Turn last = all.empty() ? Turn{} : all.back();
  for (int step = 0; step <= steps(); ++step) {
    if (step > 0) ask(step);
    if (step == last.step) ask_for_results(step);
    for (int way = 0; way < ways(); ++way) {
      const Travel& travel = all_.ways[way];
      homeward_->open(way, step);
      if (step > 0 && step < steps()) pass_on(way, step);
      if (step < steps() && (step > 0 || travel.at_home() == AtHome::first)) {
        const Turn turn{step, way, step};
        attend_turn(turn, homeward_->begin(way, step), turn == last);
        homeward_->end(way, step);
      }
      if (travel.at_home() == AtHome::last && travel.home_step(rank_) == step) {
        const Turn turn{step, way, 0};
        attend_turn(turn, homeward_->begin_own(way), turn == last);
        homeward_->end_own(way);
      }
      homeward_->close(way, step);
    }
  }
}

Program Circle::build() && {
  sort_queries();
  make_slots();
  for (int step = -kMostPrefetch; step < 0; ++step) ask(step);
  send_queries_away();
  ask(0);
  pack_and_send();
  pack(mine_.cells, cast_.stays, 0, mine_.runs);
  add({.function = Function::clear, .out = mine_.sum}, 0, mine_.runs);
  if (has_visitors()) add({.function = Function::clear, .out = visitors_.sum}, 0, visitors_.runs);
  cast_.backward() ? go_round_backward() : go_round_forward();
  finish();
  return std::move(builder_).take();
}

}  // namespace

Program circulate(const Circulation& circulation, int rank) {
  return Circle(circulation, rank).build();
}

}  // namespace gyre
