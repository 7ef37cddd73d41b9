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

void Homeward::plan_coming() {
  for (int way = 0; way < std::ssize(ways_); ++way) {
    const Travel& travel = ways_[way];
    for (int step = 0; step < steps(); ++step) {
      const int origin = travel.origin(rank_, step);
      for (auto& [from, runs] : travel.came_from(origin, step))
        coming_.push_back({travel.holder(origin, from), turn(way, from), turn(way, step), step, std::move(runs), false});
      if (step == 0) continue;
      for (auto& [to, runs] : travel.go_on_to(rank_, step)) {
        if (to != Travel::kHome) continue;
        coming_.push_back({travel.holder(rank_, step), turn(way, step), turn(way, step + 1), to, std::move(runs), true});
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

/// A share stays until it has been asked for, and for a step at least, as links may be slow.
void Homeward::make_slots_of_going() {
  Turns turns;
  std::map<int, int> places;
  const int ways = static_cast<int>(ways_.size());
  for (int now = 0; now < steps() * ways; ++now) {
    const int step = now / ways, way = now % ways;
    std::int64_t leaving = 0;
    int until = now + ways - 1;
    for (const auto& [to, runs] : ways_[way].go_on_to(ways_[way].origin(rank_, step), step)) {
      if (step == 0 && to == Travel::kHome) continue;
      leaving += bytes(share_of(role_), runs);
      until = std::max(until, asked_for(turn(way, to == Travel::kHome ? step + 1 : to)));
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

SlotId Homeward::begin(int way, int step) {
  ask(turn(way, step));
  const auto runs = ways_[way].stopping(ways_[way].origin(rank_, step), step);
  if (runs.empty()) return kNoSlot;
  add({.function = Function::clear, .out = fresh_}, turn(way, step), runs);
  return fresh_;
}

void Homeward::take_in(int turn, SlotId fresh) {
  const auto found = taken_.find(turn);
  if (found == taken_.end()) return;
  for (const std::size_t index : found->second) {
    const Coming& share = coming_[index];
    if (share.home) {
      add({.function = Function::finish, .out = rows_, .in = {share.slot, kNoSlot}}, turn, share.runs);
    } else {
      add({.op = Op::combine, .out = fresh, .in = {share.slot, kNoSlot}}, turn, share.runs);
    }
  }
}

void Homeward::send_on(int way, int step, SlotId fresh) {
  const Travel& travel = ways_[way];
  const int origin = travel.origin(rank_, step), now = turn(way, step);
  std::vector<CellRun> leaving;
  const auto links = travel.go_on_to(origin, step);
  for (const auto& [to, runs] : links) {
    if (step > 0 || to != Travel::kHome) leaving.insert(leaving.end(), runs.begin(), runs.end());
  }
  if (!leaving.empty()) add({.function = Function::settle, .out = going_.at(now), .in = {fresh, kNoSlot}}, now, leaving);
  for (const auto& [to, runs] : links) {
    if (step == 0 && to == Travel::kHome) {
      add({.function = Function::finish, .out = rows_, .in = {fresh, kNoSlot}}, now, runs);
    } else {
      const int peer = to == Travel::kHome ? origin : travel.holder(origin, to);
      add({.op = Op::send, .lane = lane_, .in = {going_.at(now), kNoSlot}, .peer = peer}, now, runs);
    }
  }
}

void Homeward::end(int way, int step) {
  take_in(turn(way, step), fresh_);
  send_on(way, step, fresh_);
}

void Homeward::await_last() {
  for (int way = 0; way < std::ssize(ways_); ++way) {
    ask(turn(way, steps()));
    take_in(turn(way, steps()), kNoSlot);
  }
}

}  // namespace gyre
