#include "runtime/borrowing.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "runtime/content.hpp"

namespace gyre {
namespace {

using Cells = std::set<std::pair<std::uint32_t, int>>;  // (unit, head)

/// Cells that a rank borrows instead of receiving them.
struct Borrow {
  std::size_t receive;  // the instruction of the schedule's program that it replaces, or a part of it
  int owner;
  std::vector<CellRun> runs;
};

/// Cells that a rank lends.
struct Loan {
  int borrower;
  std::uint32_t stage;
  std::vector<CellRun> runs;
};

/// One rank's program as the schedule made it, and what of it becomes loans.
struct Plan {
  Program program;
  std::vector<Borrow> borrows;  // in program order
};

/// The consecutive units of a run that satisfy a condition, as runs of the same heads.
template <class Wanted>
void append_where(const CellRun& run, Wanted&& wanted, std::vector<CellRun>& runs) {
  bool joins = false;
  for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
    const bool takes = wanted(unit);
    if (takes && joins) ++runs.back().units;
    if (takes && !joins) runs.push_back({unit, 1, run.head, run.heads});
    joins = takes;
  }
}

/// A message of keys and values: others are left as they are.
bool of_keys(const Program& program, const Instruction& instruction) {
  if (instruction.op == Op::receive) return program.slots[instruction.out].role == Role::key_value;
  return instruction.op == Op::send && program.slots[instruction.in[0]].role == Role::key_value;
}

class Borrowing {
 public:
  Borrowing(Schedule schedule, const Layout& layout, std::vector<int> nodes)
      : schedule_(std::move(schedule)), layout_(layout), nodes_(std::move(nodes)) {}

  Program build(int rank);

 private:
  bool local(int rank, int owner) const { return owner != Placement::kEveryRank && nodes_[rank] == nodes_[owner]; }
  int owner(const CellRun& run, std::uint32_t unit) const { return layout_.keys.owner(static_cast<int>(unit), run.head); }

  const Plan& plan(int rank);
  Plan make_plan(int rank) const;
  std::vector<Loan> loans_of(int rank);
  Cells used(const Program& program, std::size_t receive) const;

  /// What still travels to a rank of some runs.
  std::vector<CellRun> travelling(std::span<const CellRun> runs, int to) const {
    std::vector<CellRun> kept;
    for (const CellRun& run : runs)
      append_where(
          run, [&](std::uint32_t unit) { return !local(to, owner(run, unit)); }, kept);
    return kept;
  }

  Schedule schedule_;
  const Layout& layout_;
  std::vector<int> nodes_;
  std::mutex mutex_;  // over plans_
  std::map<int, Plan> plans_;
};

const Plan& Borrowing::plan(int rank) {
  const auto found = plans_.find(rank);
  return found != plans_.end() ? found->second : plans_.emplace(rank, make_plan(rank)).first->second;
}

Plan Borrowing::make_plan(int rank) const {
  Plan plan{.program = schedule_(rank), .borrows = {}};
  for (std::size_t index = 0; index < plan.program.instructions.size(); ++index) {
    const Instruction& instruction = plan.program.instructions[index];
    if (instruction.op != Op::receive || !of_keys(plan.program, instruction)) continue;
    const Cells wanted = used(plan.program, index);
    std::map<int, std::vector<CellRun>> by_owner;
    for (const CellRun& run : plan.program.runs_of(instruction)) {
      const auto takes = [&](std::uint32_t unit, int head) { return wanted.contains({unit, head}); };
      std::set<int> owners;
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) owners.insert(owner(run, unit));
      for (const int from : owners) {
        if (!local(rank, from)) continue;
        append_where(
            run, [&](std::uint32_t unit) { return owner(run, unit) == from && takes(unit, run.head); }, by_owner[from]);
      }
    }
    for (auto& [from, runs] : by_owner) {
      if (!runs.empty()) plan.borrows.push_back({index, from, std::move(runs)});
    }
  }
  return plan;
}

/// The cells that a receive brings which the rank attends, or passes on to another node, before the slot is filled again.
Cells Borrowing::used(const Program& program, std::size_t receive) const {
  const SlotId slot = program.instructions[receive].out;
  const SlotId whole = program.slots[slot].part_of;
  Cells cells;
  for (std::size_t index = receive + 1; index < program.instructions.size(); ++index) {
    const Instruction& instruction = program.instructions[index];
    if (instruction.out == slot) break;
    const auto reads = [&](SlotId in) { return in != kNoSlot && (in == slot || in == whole); };
    if (!reads(instruction.in[0]) && !reads(instruction.in[1])) continue;
    const auto runs = program.runs_of(instruction);
    const auto kept =
        instruction.op == Op::send ? travelling(runs, instruction.peer) : std::vector<CellRun>(runs.begin(), runs.end());
    for (const CellRun& run : kept) {
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) cells.insert({unit, head});
      }
    }
  }
  return cells;
}

/// Gives every slot its place again: what is no longer received needs no room, what is lent lies in the window.
void place_slots(const Layout& layout, Program& program) {
  std::vector<std::int64_t> needed(program.slots.size(), 0);  // of slots that receives fill
  std::vector<std::uint8_t> packed(program.slots.size(), 0);
  std::vector<std::uint8_t> lent(program.slots.size(), 0), whole(program.slots.size(), 0);
  const bool lends = std::any_of(program.instructions.begin(), program.instructions.end(),
                                 [](const Instruction& instruction) { return instruction.op == Op::expose; });
  for (const Instruction& instruction : program.instructions) {
    if (instruction.function == Function::pack_key_value) lent[instruction.out] = lends;
    if (instruction.op == Op::apply && instruction.function != Function::finish) packed[instruction.out] = 1;
    if (instruction.op != Op::receive) continue;
    std::int64_t& bytes = needed[instruction.out];
    bytes = std::max(bytes, layout.run_bytes(program.slots[instruction.out].role, program.runs_of(instruction)));
  }
  for (const Slot& slot : program.slots) {
    if (slot.part_of != kNoSlot) whole[slot.part_of] = 1;
  }
  program.arena_bytes = program.window_bytes = 0;
  for (SlotId id = 0; id < program.slots.size(); ++id) {
    Slot& slot = program.slots[id];
    if (slot.space == Space::user) continue;
    slot.space = lent[id] ? Space::window : Space::arena;
    std::int64_t& end = lent[id] ? program.window_bytes : program.arena_bytes;
    if (!packed[id]) slot.bytes = needed[id];
    slot.offset = end;
    end += round_up(slot.bytes, kAlignment);
    if (slot.part_of != kNoSlot) program.slots[slot.part_of].bytes = end - program.slots[slot.part_of].offset;
  }
}

bool packs_keys(const Instruction& instruction) {
  return instruction.op == Op::apply && instruction.function == Function::pack_key_value;
}

/// The last instruction of some kind; the number of instructions if there is none.
template <class Is>
std::size_t last_of(const Program& program, Is&& is) {
  std::size_t last = program.instructions.size();
  for (std::size_t index = 0; index < program.instructions.size(); ++index)
    if (is(program.instructions[index])) last = index;
  return last;
}

/// Where a rank packs its cells of a run.
SlotId slot_of(const Program& program, const CellRun& wanted) {
  for (const Instruction& instruction : program.instructions) {
    if (instruction.function != Function::pack_key_value) continue;
    for (const CellRun& run : program.runs_of(instruction)) {
      const bool has_unit = wanted.unit >= run.unit && wanted.unit < run.unit + run.units;
      if (has_unit && wanted.head >= run.head && wanted.head < run.head + run.heads) return instruction.out;
    }
  }
  throw std::logic_error("rank " + std::to_string(program.rank) + " is to lend cells that it never packs");
}

/// Rewrites one rank's program, instruction by instruction.
class Rewriter {
 public:
  explicit Rewriter(const Program& from) {
    to_.rank = from.rank;
    to_.pass = from.pass;
    to_.slots = from.slots;
  }

  void add(Instruction instruction, std::span<const CellRun> runs, std::span<const std::int64_t> places = {}) {
    instruction.runs = static_cast<std::uint32_t>(to_.runs.size());
    instruction.run_count = static_cast<std::uint32_t>(runs.size());
    instruction.places = static_cast<std::uint32_t>(to_.places.size());
    to_.runs.insert(to_.runs.end(), runs.begin(), runs.end());
    to_.places.insert(to_.places.end(), places.begin(), places.end());
    to_.instructions.push_back(instruction);
  }
  void borrow(const Instruction& receive, const Borrow& borrow, std::span<const std::int64_t> places) {
    add({.op = Op::borrow, .out = receive.out, .peer = borrow.owner, .stage = receive.stage}, borrow.runs, places);
    loans_.push_back({.op = Op::release, .out = receive.out, .peer = borrow.owner, .stage = receive.stage});
  }
  /// Gives back what lies in the slot (kNoSlot: in any), and what was borrowed earlier from the same owners: loans end in their
  /// order.
  void release(SlotId slot) {
    for (std::size_t last = loans_.size(); last-- > 0;) {
      if (slot != kNoSlot && loans_[last].out != slot) continue;
      const int peer = loans_[last].peer;
      std::vector<Instruction> kept;
      for (std::size_t index = 0; index < loans_.size(); ++index) {
        const bool ends = index <= last && loans_[index].peer == peer;
        ends ? add(loans_[index], {}) : kept.push_back(loans_[index]);
      }
      loans_ = std::move(kept);
      last = loans_.size();
    }
  }
  Program take(const Layout& layout) && {
    release(kNoSlot);
    place_slots(layout, to_);
    return std::move(to_);
  }

 private:
  Program to_;
  std::vector<Instruction> loans_;  // the releases that are still to come, in the order of borrowing
};

/// What of its cells an owner has where in its window. They lie there in the order of packing, from its start.
Content packed(const Layout& layout, const Program& owner) {
  std::vector<CellRun> runs;
  for (const Instruction& instruction : owner.instructions) {
    if (instruction.function != Function::pack_key_value) continue;
    const auto more = owner.runs_of(instruction);
    runs.insert(runs.end(), more.begin(), more.end());
  }
  return Content(layout, Role::key_value, runs, {owner.rank, 0});
}

/// Cuts runs until each lies in one piece, and tells where. A run that its owner has in pieces is lent unit by unit, then cell by
/// cell.
std::vector<std::int64_t> places_of(const Layout& layout, const Content& content, std::vector<CellRun>& runs) {
  std::vector<std::int64_t> places;
  for (std::size_t index = 0; index < runs.size(); ++index) {
    while (!content.find(layout, runs[index]) && runs[index].cells() > 1) {
      CellRun& run = runs[index];
      CellRun rest = run;
      if (run.units > 1) {
        run.units = 1, ++rest.unit, --rest.units;
      } else {
        run.heads = 1, ++rest.head, --rest.heads;
      }
      runs.insert(runs.begin() + static_cast<std::ptrdiff_t>(index) + 1, rest);
    }
    const auto place = content.find(layout, runs[index]);
    if (!place) throw std::logic_error("a rank is to lend cells that it never packs");
    places.push_back(place->offset);
  }
  return places;
}

std::vector<Loan> Borrowing::loans_of(int rank) {
  const Content content = packed(layout_, plan(rank).program);
  std::vector<Loan> loans;
  for (int other = 0; other < layout_.ranks; ++other) {
    if (other == rank || nodes_[other] != nodes_[rank]) continue;
    const Plan& theirs = plan(other);
    for (const Borrow& borrow : theirs.borrows) {
      if (borrow.owner != rank) continue;
      loans.push_back({other, theirs.program.instructions[borrow.receive].stage, borrow.runs});
      places_of(layout_, content, loans.back().runs);
    }
  }
  return loans;
}

Program Borrowing::build(int rank) {
  const std::lock_guard lock(mutex_);
  const Plan& mine = plan(rank);
  Rewriter rewriter(mine.program);
  auto next = mine.borrows.begin();
  const std::size_t last_attend = last_of(mine.program, [](const Instruction& instruction) { return attends(instruction.op); });
  const std::size_t last_pack = last_of(mine.program, packs_keys);
  for (std::size_t index = 0; index < mine.program.instructions.size(); ++index) {
    const Instruction& instruction = mine.program.instructions[index];
    const auto runs = mine.program.runs_of(instruction);
    if (!of_keys(mine.program, instruction)) {
      rewriter.add(instruction, runs);
      if (index == last_attend) rewriter.release(kNoSlot);
    } else if (instruction.op == Op::receive) {
      rewriter.release(instruction.out);
      if (const auto kept = travelling(runs, rank); !kept.empty()) rewriter.add(instruction, kept);
      for (; next != mine.borrows.end() && next->receive == index; ++next) {
        Borrow borrow = *next;
        const auto places = places_of(layout_, packed(layout_, plan(borrow.owner).program), borrow.runs);
        rewriter.borrow(instruction, borrow, places);
      }
    } else if (const auto kept = travelling(runs, instruction.peer); !kept.empty()) {
      rewriter.add(instruction, kept);
    }
    if (index != last_pack) continue;
    // When all own cells are packed: in the order in which they are taken, which is not that of packing.
    for (const Loan& loan : loans_of(rank)) {
      const SlotId slot = slot_of(mine.program, loan.runs.front());
      rewriter.add({.op = Op::expose, .in = {slot, kNoSlot}, .peer = loan.borrower, .stage = loan.stage}, loan.runs);
    }
  }
  return std::move(rewriter).take(layout_);
}

}  // namespace

Schedule borrow_inside_nodes(Schedule schedule, const Layout& layout, std::vector<int> nodes) {
  return [borrowing = std::make_shared<Borrowing>(std::move(schedule), layout, std::move(nodes))](int rank) {
    return borrowing->build(rank);
  };
}

}  // namespace gyre
