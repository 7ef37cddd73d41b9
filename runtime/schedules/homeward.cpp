#include "runtime/schedules/homeward.hpp"

#include <algorithm>
#include <tuple>

#include "runtime/schedules/turns.hpp"

namespace gyre {

Homeward::Homeward(const std::vector<Travel>& ways, const Layout& layout, Role role, std::uint8_t lane, SlotId rows, int rank,
                   ProgramBuilder& builder)
    : ways_(ways), layout_(layout), role_(role), lane_(lane), rows_(rows), rank_(rank), builder_(builder) {
  plan_coming();
  order_by_sender();
  make_slots();
}

/// The turn in which a share is taken in at home that comes from the last stop of its cells.
int Homeward::home_turn(int way, int rank, int last_stop) const {
  const Travel& travel = ways_[way];
  return turn(way, travel.at_home() == AtHome::last ? travel.home_step(rank) : last_stop + 1);
}

void Homeward::plan_coming() {
  using Use = Coming::Use;
  for (int way = 0; way < std::ssize(ways_); ++way) {
    const Travel& travel = ways_[way];
    const Use at_home = travel.at_home() == AtHome::last ? Use::taken_in_at_home : Use::finished;
    for (int step = 0; step < steps(); ++step) {
      const int origin = travel.origin(rank_, step);
      for (auto& [from, runs] : travel.came_from(origin, step))
        coming_.push_back({travel.holder(origin, from), turn(way, from), turn(way, step), step, std::move(runs), Use::taken_in});
      if (step == 0) continue;
      for (auto& [to, runs] : travel.go_on_to(rank_, step)) {
        if (to != Travel::kHome) continue;
        coming_.push_back({travel.holder(rank_, step), turn(way, step), home_turn(way, rank_, step), to, std::move(runs), at_home});
      }
    }
  }
}

/// What comes from one sender has to be asked for in the order in which it is sent, though it may be taken in in another one.
void Homeward::order_by_sender() {
  for (Coming& share : coming_) share.asked = asked_for(share.taken);
  std::sort(coming_.begin(), coming_.end(),
            [](const Coming& a, const Coming& b) { return std::tie(a.peer, a.sent, a.order) < std::tie(b.peer, b.sent, b.order); });
  for (std::size_t index = coming_.size(); index-- > 1;) {
    Coming& before = coming_[index - 1];
    if (before.peer == coming_[index].peer) before.asked = std::min(before.asked, coming_[index].asked);
  }
  std::stable_sort(coming_.begin(), coming_.end(), [](const Coming& a, const Coming& b) { return a.asked < b.asked; });
}

void Homeward::make_slots_of_coming() {
  Turns turns;
  std::vector<int> places;
  for (const Coming& share : coming_)
    places.push_back(turns.take({share.asked, share.taken, bytes(share_of(role_), share.runs), 0}));
  std::vector<SlotId> slots;
  for (const Turns::Slot& slot : turns.slots) slots.push_back(builder_.arena_slot(share_of(role_), slot.passed_bytes));
  for (std::size_t index = 0; index < coming_.size(); ++index) {
    coming_[index].slot = slots[places[index]];
    taken_[coming_[index].taken].push_back(index);
  }
}

/// A share stays until the turn opens in which it is asked for, and for a step at least, as links may be slow. The next one in its
/// place is settled when a turn ends: so ranks wait for what others do earlier, and for nothing else.
void Homeward::make_slots_of_going() {
  Turns turns;
  std::map<int, int> places;
  const int ways = static_cast<int>(ways_.size());
  for (int now = 0; now < steps() * ways; ++now) {
    const int step = now / ways, way = now % ways;
    std::int64_t leaving = 0;
    int until = now + ways - 1;
    const int origin = ways_[way].origin(rank_, step);
    for (const auto& [to, runs] : ways_[way].go_on_to(origin, step)) {
      if (step == 0 && to == Travel::kHome) continue;
      leaving += bytes(share_of(role_), runs);
      until = std::max(until, asked_for(to == Travel::kHome ? home_turn(way, origin, step) : turn(way, to)) - 1);
    }
    if (leaving > 0) places[now] = turns.take({now, until, leaving, 0});
  }
  std::vector<SlotId> slots;
  for (const Turns::Slot& slot : turns.slots) slots.push_back(builder_.arena_slot(share_of(role_), slot.passed_bytes));
  for (const auto& [now, place] : places) going_[now] = slots[place];
}

void Homeward::make_slots() {
  make_slots_of_coming();
  make_slots_of_going();
  std::int64_t fresh = 0;
  for (const Travel& travel : ways_) {
    for (int step = 0; step < steps(); ++step)
      fresh = std::max(fresh, bytes(role_, travel.stopping(travel.origin(rank_, step), step)));
    if (travel.at_home() == AtHome::last) fresh = std::max(fresh, bytes(role_, travel.home(rank_)));
  }
  fresh_ = builder_.arena_slot(role_, fresh);
}

void Homeward::add(Instruction instruction, int turn, const std::vector<CellRun>& runs) {
  instruction.stage = static_cast<std::uint32_t>(std::min(turn / static_cast<int>(ways_.size()), steps() - 1));
  builder_.add(instruction, runs);
}

void Homeward::ask(int turn) {
  for (; next_ < coming_.size() && coming_[next_].asked <= turn; ++next_) {
    const Coming& share = coming_[next_];
    add({.op = Op::receive, .lane = lane_, .out = share.slot, .peer = share.peer}, share.taken, share.runs);
  }
}

void Homeward::open(int way, int step) {
  ask(turn(way, step));
}

SlotId Homeward::begin(int way, int step) {
  const auto runs = ways_[way].stopping(ways_[way].origin(rank_, step), step);
  if (runs.empty()) return kNoSlot;
  add({.function = Function::clear, .out = fresh_}, turn(way, step), runs);
  return fresh_;
}

SlotId Homeward::begin_own(int way) {
  const auto runs = ways_[way].home(rank_);
  if (runs.empty()) return kNoSlot;
  add({.function = Function::clear, .out = fresh_}, turn(way, ways_[way].home_step(rank_)), runs);
  return fresh_;
}

void Homeward::take(int turn, Coming::Use use) {
  const auto found = taken_.find(turn);
  if (found == taken_.end()) return;
  for (const std::size_t index : found->second) {
    const Coming& share = coming_[index];
    if (share.use != use) continue;
    if (use == Coming::Use::finished) {
      add({.function = Function::finish, .out = rows_, .in = {share.slot, kNoSlot}}, turn, share.runs);
    } else {
      add({.op = Op::combine, .out = fresh_, .in = {share.slot, kNoSlot}}, turn, share.runs);
    }
  }
}

void Homeward::send_on(int way, int step) {
  const Travel& travel = ways_[way];
  const int origin = travel.origin(rank_, step), now = turn(way, step);
  std::vector<CellRun> leaving;
  const auto links = travel.go_on_to(origin, step);
  for (const auto& [to, runs] : links) {
    if (step > 0 || to != Travel::kHome) leaving.insert(leaving.end(), runs.begin(), runs.end());
  }
  if (!leaving.empty()) add({.function = Function::settle, .out = going_.at(now), .in = {fresh_, kNoSlot}}, now, leaving);
  for (const auto& [to, runs] : links) {
    if (step == 0 && to == Travel::kHome) {
      add({.function = Function::finish, .out = rows_, .in = {fresh_, kNoSlot}}, now, runs);
    } else {
      const int peer = to == Travel::kHome ? origin : travel.holder(origin, to);
      add({.op = Op::send, .lane = lane_, .in = {going_.at(now), kNoSlot}, .peer = peer}, now, runs);
    }
  }
}

void Homeward::end(int way, int step) {
  take(turn(way, step), Coming::Use::taken_in);
  send_on(way, step);
}

void Homeward::end_own(int way) {
  const int now = turn(way, ways_[way].home_step(rank_));
  take(now, Coming::Use::taken_in_at_home);
  if (const auto runs = ways_[way].home(rank_); !runs.empty())
    add({.function = Function::finish, .out = rows_, .in = {fresh_, kNoSlot}}, now, runs);
}

void Homeward::close(int way, int step) {
  take(turn(way, step), Coming::Use::finished);
}

}  // namespace gyre
