#include "runtime/verify.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "runtime/content.hpp"
#include "runtime/coverage.hpp"
#include "runtime/scoreboard.hpp"
#include "runtime/well_formed.hpp"

namespace gyre {
namespace {

constexpr std::size_t kMostProblems = 8;
constexpr int kCalls = 2;

/// What is known of a slot's content: which call put it there; and of partials, gradients and what travels of them, what their
/// cells have accumulated.
struct Holding {
  bool valid = false;
  int call = -1;
  Coverage covered;
};

struct Posted {
  int rank;
  std::size_t instruction;
};

using Channel = std::tuple<int, int, int>;  // from, to, lane

/// All ranks of two calls, run symbolically to the end or until nothing moves.
class SymbolicMachine {
 public:
  SymbolicMachine(const Layout& layout, std::span<const Program> programs, Verdict& verdict)
      : layout_(layout), programs_(programs), verdict_(verdict), ranks_(programs.size()) {
    for (std::size_t rank = 0; rank < programs.size(); ++rank) {
      ranks_[rank].scoreboard.emplace(programs[rank]);
      ranks_[rank].contents.emplace(layout, programs[rank]);
      ranks_[rank].holdings.resize(programs[rank].slots.size());
      for (const Role role : {Role::query, Role::key_value}) finished(ranks_[rank], role).assign(cells(role), 0);
      start_call(ranks_[rank], programs[rank]);
    }
  }

  void run() {
    std::deque<int> ready;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) ready.push_back(static_cast<int>(rank));
    while (!ready.empty() && verdict_.problems.size() < kMostProblems) {
      const int rank = ready.front();
      ready.pop_front();
      advance(rank, ready);
    }
    if (verdict_.problems.empty()) report_stuck();
  }

 private:
  struct Rank {
    std::optional<Scoreboard> scoreboard;
    std::optional<Contents> contents;
    std::vector<Holding> holdings;                              // [slot]
    std::vector<std::uint8_t> done;                             // [instruction] of this call
    std::vector<std::uint8_t> finished_queries, finished_keys;  // [unit][head] of this call
    std::size_t next = 0;
    int call = 0;
  };

  static std::vector<std::uint8_t>& finished(Rank& rank, Role role) {
    return of_keys(role) ? rank.finished_keys : rank.finished_queries;
  }
  std::size_t cells(Role role) const {
    return static_cast<std::size_t>(layout_.units_of(role).count()) * layout_.problem.key_heads;
  }

  void problem(int rank, std::size_t instruction, const std::string& what) {
    verdict_.problems.push_back("rank " + std::to_string(rank) + ": " + describe(programs_[rank], instruction) + ": " + what);
  }

  static void start_call(Rank& rank, const Program& program) {
    rank.done.assign(program.instructions.size(), 0);
    std::fill(rank.finished_queries.begin(), rank.finished_queries.end(), 0);
    std::fill(rank.finished_keys.begin(), rank.finished_keys.end(), 0);
    rank.next = 0;
  }

  /// Posts what this rank may post, in order; finishing a call starts the next.
  void advance(int index, std::deque<int>& ready) {
    Rank& rank = ranks_[index];
    const Program& program = programs_[index];
    while (rank.call < kCalls) {
      if (rank.next == program.instructions.size()) {
        for (const std::uint8_t done : rank.done) {
          if (!done) return;
        }
        check_finished(index);
        if (++rank.call < kCalls) start_call(rank, program);
        continue;
      }
      for (const std::uint32_t source : rank.scoreboard->sources(rank.next)) {
        if (!rank.done[source]) return;
      }
      post(index, rank.next++, ready);
      if (verdict_.problems.size() >= kMostProblems) return;
    }
  }

  void post(int index, std::size_t at, std::deque<int>& ready) {
    const Instruction& instruction = programs_[index].instructions[at];
    switch (instruction.op) {
      case Op::send:
        check_present(index, at, instruction.in[0], true);
        return meet({index, instruction.peer, instruction.lane}, {index, at}, sends_, receives_, ready);
      case Op::receive:
        overwrite(index, instruction.out);
        return meet({instruction.peer, index, instruction.lane}, {index, at}, receives_, sends_, ready);
      case Op::expose:
        check_present(index, at, instruction.in[0], true);
        loans_[{index, instruction.peer}].exposed.push_back({index, at});
        return lend(index, instruction.peer, ready);
      case Op::borrow:
        loans_[{instruction.peer, index}].borrowed.push_back({index, at});
        return lend(instruction.peer, index, ready);
      case Op::release:
        release(index, at, ready);
        break;
      case Op::attend:
        attend(index, at);
        break;
      case Op::attend_backward:
        attend_backward(index, at);
        break;
      case Op::combine:
        combine(index, at);
        break;
      case Op::apply:
        apply(index, at);
        break;
    }
    ranks_[index].done[at] = 1;
  }

  using Queues = std::map<Channel, std::deque<Posted>>;

  /// The k-th send meets the k-th receive; both are complete as soon as both are posted.
  void meet(const Channel& channel, Posted mine, Queues& same, Queues& other, std::deque<int>& ready) {
    auto& waiting = other[channel];
    if (waiting.empty()) {
      same[channel].push_back(mine);
      return;
    }
    const Posted theirs = waiting.front();
    waiting.pop_front();
    const bool sending = programs_[mine.rank].instructions[mine.instruction].op == Op::send;
    transfer(sending ? mine : theirs, sending ? theirs : mine);
    for (const Posted& side : {mine, theirs}) {
      ranks_[side.rank].done[side.instruction] = 1;
      if (side.rank != mine.rank || side.instruction != mine.instruction) ready.push_back(side.rank);
    }
  }

  void transfer(Posted from, Posted to) {
    const Program& sender = programs_[from.rank];
    const Program& receiver = programs_[to.rank];
    const auto sent = sender.runs_of(sender.instructions[from.instruction]);
    const auto expected = receiver.runs_of(receiver.instructions[to.instruction]);
    if (!std::equal(sent.begin(), sent.end(), expected.begin(), expected.end())) {
      return problem(to.rank, to.instruction,
                     "meets other cells: rank " + std::to_string(from.rank) + " " + describe(sender, from.instruction));
    }
    if (ranks_[from.rank].call != ranks_[to.rank].call) problem(to.rank, to.instruction, "meets a send of another call");
    const SlotId source = sender.instructions[from.instruction].in[0];
    const SlotId target = receiver.instructions[to.instruction].out;
    const Role role = sender.slots[source].role;
    if (receiver.slots[target].role != role) return problem(to.rank, to.instruction, "meets a send of another role");
    fill(to.rank, to.instruction);
    if (sum_of(role) != Role::rows) ranks_[to.rank].holdings[target].covered = ranks_[from.rank].holdings[source].covered.of(sent);
    if (ranks_[to.rank].call == 0) {
      verdict_.messages += sent.size();
      verdict_.bytes_sent += static_cast<std::uint64_t>(layout_.run_bytes(role, sent));
    }
  }

  /// What one rank has lent another, in order.
  struct Loans {
    std::deque<Posted> exposed, borrowed;  // of which the first `lent` have met
    std::size_t lent = 0;
  };

  /// A borrow is complete as soon as it meets its expose, which goes on until the release.
  void lend(int owner, int borrower, std::deque<int>& ready) {
    Loans& loans = loans_[{owner, borrower}];
    if (loans.lent == loans.exposed.size() || loans.lent == loans.borrowed.size()) return;
    const Posted from = loans.exposed[loans.lent];
    const Posted to = loans.borrowed[loans.lent++];
    check_loan(from, to);
    fill(to.rank, to.instruction);
    ranks_[to.rank].done[to.instruction] = 1;
    ready.push_back(to.rank);
  }

  void check_loan(Posted from, Posted to) {
    const Program& owner = programs_[from.rank];
    const Program& borrower = programs_[to.rank];
    const Instruction& exposed = owner.instructions[from.instruction];
    const Instruction& borrowed = borrower.instructions[to.instruction];
    const auto lent = owner.runs_of(exposed);
    const auto taken = borrower.runs_of(borrowed);
    if (!std::equal(lent.begin(), lent.end(), taken.begin(), taken.end())) {
      return problem(to.rank, to.instruction,
                     "meets other cells: rank " + std::to_string(from.rank) + " " + describe(owner, from.instruction));
    }
    if (ranks_[from.rank].call != ranks_[to.rank].call) problem(to.rank, to.instruction, "borrows from another call");
    for (std::size_t run = 0; run < lent.size(); ++run) {
      const auto place = ranks_[from.rank].contents->find(exposed.in[0], lent[run]);
      if (place == Place{from.rank, borrower.places[borrowed.places + run]}) continue;
      return problem(to.rank, to.instruction, "looks for a cell where its owner does not have it");
    }
    if (ranks_[to.rank].call == 0) verdict_.bytes_borrowed += static_cast<std::uint64_t>(layout_.run_bytes(Role::key_value, lent));
  }

  /// Gives back the oldest loan.
  void release(int index, std::size_t at, std::deque<int>& ready) {
    const Instruction& instruction = programs_[index].instructions[at];
    Loans& loans = loans_[{instruction.peer, index}];
    if (loans.lent == 0) return problem(index, at, "releases what it has not borrowed");
    const Posted from = loans.exposed.front();
    const Posted to = loans.borrowed.front();
    if (programs_[index].instructions[to.instruction].out != instruction.out) return problem(index, at, "releases another loan");
    loans.exposed.pop_front();
    loans.borrowed.pop_front();
    --loans.lent;
    ranks_[index].contents->update(instruction);
    ranks_[from.rank].done[from.instruction] = 1;
    ready.push_back(from.rank);
  }

  /// Whatever shares bytes with the slot is gone.
  void overwrite(int index, SlotId slot) {
    for (const SlotId other : ranks_[index].scoreboard->overlapping(slot)) ranks_[index].holdings[other].valid = false;
  }

  void fill(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    ranks_[index].contents->update(instruction);
    Holding& holding = ranks_[index].holdings[instruction.out];
    holding.valid = true;
    holding.call = ranks_[index].call;
  }

  static bool of_this_call(const Rank& rank, SlotId slot) {
    return rank.holdings[slot].valid && rank.holdings[slot].call == rank.call;
  }

  /// visit(content) of the slot and of its parts, as far as they hold something of this call; true if some visit says so.
  template <class Visit>
  bool any_content(const Rank& rank, SlotId slot, Visit&& visit) const {
    if (of_this_call(rank, slot) && visit(rank.contents->of(slot))) return true;
    const auto parts = rank.contents->parts(slot);
    return std::any_of(parts.begin(), parts.end(),
                       [&](SlotId part) { return of_this_call(rank, part) && visit(rank.contents->of(part)); });
  }

  /// The instruction's cells lie in the slot, made in this call; each run in one piece where they are to be sent.
  bool check_present(int index, std::size_t at, SlotId slot, bool in_one_piece) {
    const Rank& rank = ranks_[index];
    const std::string name = "slot " + std::to_string(slot);
    if (!any_content(rank, slot, [](const Content&) { return true; })) {
      problem(index, at, "reads " + name + ", which holds nothing of this call");
      return false;
    }
    for (const CellRun& run : programs_[index].runs_of(programs_[index].instructions[at])) {
      if (any_content(rank, slot, [&](const Content& content) { return content.find(layout_, run).has_value(); })) continue;
      if (in_one_piece) {
        problem(index, at, "sends cells that do not lie in " + name + " in one piece");
        return false;
      }
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) {
          const auto cell = static_cast<std::uint16_t>(head);
          if (any_content(rank, slot, [&](const Content& content) { return content.find(layout_, unit, cell).has_value(); }))
            continue;
          problem(index, at, "reads a cell of unit " + std::to_string(unit) + " that " + name + " does not hold");
          return false;
        }
      }
    }
    return true;
  }

  void apply(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    if (instruction.function == Function::finish) return finish(index, at);
    const bool settles = instruction.function == Function::settle;
    if (settles && !check_present(index, at, instruction.in[0], false)) return;
    Rank& rank = ranks_[index];
    overwrite(index, instruction.out);
    if (settles && !rank.holdings[instruction.in[0]].valid) return problem(index, at, "overwrites what it reads");
    fill(index, at);
    const auto runs = programs_[index].runs_of(instruction);
    if (settles) rank.holdings[instruction.out].covered = rank.holdings[instruction.in[0]].covered.of(runs);
    if (instruction.function == Function::clear) {
      const bool keys = of_keys(programs_[index].slots[instruction.out].role);
      rank.holdings[instruction.out].covered = Coverage(runs, (keys ? layout_.query_units : layout_.key_units).count());
    }
  }

  /// All that an attend reads is there; what it adds to is of this call.
  bool check_attended(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    if (!check_present(index, at, instruction.in[1], false)) return false;
    const Rank& rank = ranks_[index];
    for (const SlotId slot : instruction.outs()) {
      if (slot == kNoSlot || of_this_call(rank, slot)) continue;
      problem(index, at, "adds to a slot that holds nothing of this call");
      return false;
    }
    bool queries = true;
    rank.holdings[instruction.out].covered.each_row([&](Coverage::RowCell row) {
      queries = queries && any_content(rank, instruction.in[0], [&](const Content& content) {
                  return content.find(layout_, row.first, row.second).has_value();
                });
    });
    if (!queries) problem(index, at, "reads queries that are not there");
    return queries;
  }

  void attend(int index, std::size_t at) {
    if (!check_attended(index, at)) return;
    const Instruction& instruction = programs_[index].instructions[at];
    Coverage& covered = ranks_[index].holdings[instruction.out].covered;
    const auto again = covered.attend(programs_[index].runs_of(instruction), sees(Role::partial));
    if (again) return problem(index, at, "attends unit " + std::to_string(*again) + " for the second time");
    write_in_place(index, instruction.out);
  }

  /// As attend, and the other way round: keys accumulate queries.
  void attend_backward(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    if (!check_attended(index, at) || !check_present(index, at, instruction.also_out, false)) return;
    const auto keys = programs_[index].runs_of(instruction);
    Coverage& queries = ranks_[index].holdings[instruction.out].covered;
    Coverage& gradients = ranks_[index].holdings[instruction.also_out].covered;
    std::vector<CellRun> rows;
    queries.each_row([&](Coverage::RowCell row) { rows.push_back({row.first, 1, row.second, 1}); });
    const auto key = queries.attend(keys, sees(Role::grad_query));
    if (key) return problem(index, at, "attends key unit " + std::to_string(*key) + " for the second time");
    Coverage added(keys, layout_.query_units.count());
    added.attend(rows, sees(Role::grad_key_value));
    const auto query = gradients.combine(added, keys, sees(Role::grad_key_value));
    if (query) return problem(index, at, "adds to gradients of keys from query unit " + std::to_string(*query) + " again");
    write_in_place(index, instruction.out);
    write_in_place(index, instruction.also_out);
  }

  void combine(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    for (const SlotId slot : {instruction.in[0], instruction.out}) {
      if (!check_present(index, at, slot, false)) return;
    }
    Rank& rank = ranks_[index];
    const Coverage& added = rank.holdings[instruction.in[0]].covered;
    const Role role = programs_[index].slots[instruction.out].role;
    const auto again = rank.holdings[instruction.out].covered.combine(added, programs_[index].runs_of(instruction), sees(role));
    if (again) return problem(index, at, "combines unit " + std::to_string(*again) + " for the second time");
    write_in_place(index, instruction.out);
  }

  /// What overlaps the slot is gone, what it holds stays.
  void write_in_place(int index, SlotId slot) {
    overwrite(index, slot);
    ranks_[index].holdings[slot].valid = true;
  }

  /// Of what cells of that role accumulate: units of the other axis.
  Coverage::Sees sees(Role role) const {
    return [this, keys = of_keys(role)](std::uint32_t unit, int other) {
      const int query_unit = keys ? other : static_cast<int>(unit), key_unit = keys ? static_cast<int>(unit) : other;
      return layout_.bands().cover(layout_.query_positions(query_unit), layout_.key_units.range(key_unit)) != Cover::empty;
    };
  }

  /// Units of the other axis that have something visible for a cell.
  const std::vector<int>& visible_to(Role role, std::uint32_t unit, int head) {
    const bool by_head = layout_.bands().heads() > 1;
    const auto [found, is_new] = visible_.try_emplace({of_keys(role), by_head ? head : 0});
    if (is_new) {
      found->second.resize(layout_.units_of(role).count());
      const Range heads = Heads{layout_.problem.key_heads, layout_.problem.group()}.queries_of(head);
      for (int query = 0; query < layout_.query_units.count(); ++query) {
        for (const int key : key_units_seen(layout_.bands(), layout_.query_positions(query), layout_.key_units, heads)) {
          found->second[of_keys(role) ? key : query].push_back(of_keys(role) ? query : key);
        }
      }
    }
    return found->second[unit];
  }

  void finish(int index, std::size_t at) {
    const Instruction& instruction = programs_[index].instructions[at];
    if (!check_present(index, at, instruction.in[0], false)) return;
    Rank& rank = ranks_[index];
    const Role role = programs_[index].slots[instruction.in[0]].role;
    const Coverage& covered = rank.holdings[instruction.in[0]].covered;
    for (const CellRun& run : programs_[index].runs_of(instruction)) {
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) {
          for (const int other : visible_to(role, unit, head)) {
            if (covered.covers({unit, static_cast<std::uint16_t>(head)}, other)) continue;
            return problem(index, at, "finishes " + named(role, unit) + " without unit " + std::to_string(other));
          }
          if (finished(rank, role)[static_cast<std::size_t>(unit) * layout_.problem.key_heads + head]++) {
            return problem(index, at, "finishes " + named(role, unit) + " twice");
          }
        }
      }
    }
  }

  static std::string named(Role role, std::uint32_t unit) {
    return (of_keys(role) ? "key unit " : "query unit ") + std::to_string(unit);
  }

  void check_finished(int index) {
    const bool backward = programs_[index].pass == Pass::backward;
    if (!check_finished(index, Role::query, layout_.query_units_of(index))) return;
    if (backward) check_finished(index, Role::key_value, layout_.key_units_of(index));
  }

  bool check_finished(int index, Role role, const std::vector<int>& units) {
    const int heads = layout_.problem.key_heads;
    for (const int unit : units) {
      for (int head = 0; head < heads; ++head) {
        if (finished(ranks_[index], role)[static_cast<std::size_t>(unit) * heads + head]) continue;
        verdict_.problems.push_back("rank " + std::to_string(index) + ": " + named(role, static_cast<std::uint32_t>(unit)) +
                                    " is never finished");
        return false;
      }
    }
    return true;
  }

  void report_stuck() {
    for (std::size_t rank = 0; rank < ranks_.size() && verdict_.problems.size() < kMostProblems; ++rank) {
      if (ranks_[rank].call == kCalls) continue;
      const std::size_t next = ranks_[rank].next;
      if (next < programs_[rank].instructions.size()) {
        problem(static_cast<int>(rank), next, "can never be posted: deadlock");
      } else {
        verdict_.problems.push_back("rank " + std::to_string(rank) + ": a transfer never meets its other side");
      }
    }
  }

  const Layout& layout_;
  std::span<const Program> programs_;
  Verdict& verdict_;
  std::vector<Rank> ranks_;
  Queues sends_, receives_;
  std::map<std::pair<int, int>, Loans> loans_;                             // (owner, borrower)
  std::map<std::pair<bool, int>, std::vector<std::vector<int>>> visible_;  // (of keys, head): [unit]
};

}  // namespace

Verdict verify(const Layout& layout, std::span<const Program> programs, std::span<const int> nodes) {
  Verdict verdict;
  std::vector<int> apart(programs.size());
  std::iota(apart.begin(), apart.end(), 0);
  if (nodes.empty()) nodes = apart;
  for (std::size_t rank = 0; rank < programs.size() && verdict.problems.size() < kMostProblems; ++rank) {
    const Program& program = programs[rank];
    verdict.largest_arena_bytes = std::max(verdict.largest_arena_bytes, program.arena_bytes);
    if (const std::string what = malformed(layout, program, nodes); !what.empty()) {
      verdict.problems.push_back("rank " + std::to_string(rank) + ": " + what);
    }
  }
  if (verdict.problems.empty()) SymbolicMachine(layout, programs, verdict).run();
  return verdict;
}

}  // namespace gyre
