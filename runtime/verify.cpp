#include "runtime/verify.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "runtime/meaning.hpp"
#include "runtime/scoreboard.hpp"
#include "runtime/well_formed.hpp"

namespace gyre {
namespace {

constexpr std::size_t kMostProblems = 8;
constexpr int kCalls = 2;

struct Posted {
  int rank;
  std::size_t instruction;
};

using Channel = std::tuple<int, int, int>;  // from, to, lane

/// All ranks of two calls, run symbolically to the end or until nothing moves.
class SymbolicMachine {
 public:
  SymbolicMachine(const Layout& layout, std::span<const Program> programs, Verdict& verdict)
      : layout_(layout), programs_(programs), verdict_(verdict), visible_(layout), ranks_(programs.size()) {
    for (std::size_t rank = 0; rank < programs.size(); ++rank) {
      ranks_[rank].scoreboard.emplace(programs[rank]);
      ranks_[rank].meaning.emplace(layout, programs[rank], *ranks_[rank].scoreboard, visible_);
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
    std::optional<Meaning> meaning;
    std::vector<std::uint8_t> done;  // [instruction] of this call
    std::size_t next = 0;
  };

  Meaning& meaning(int rank) { return *ranks_[rank].meaning; }

  /// Notes what is wrong, if anything is.
  void problem(int rank, std::size_t instruction, const std::string& what) {
    if (what.empty()) return;
    verdict_.problems.push_back("rank " + std::to_string(rank) + ": " + describe(programs_[rank], instruction) + ": " + what);
  }

  static void start_call(Rank& rank, const Program& program) {
    rank.done.assign(program.instructions.size(), 0);
    rank.meaning->start_call();
    rank.next = 0;
  }

  /// Posts what this rank may post, in order; finishing a call starts the next.
  void advance(int index, std::deque<int>& ready) {
    Rank& rank = ranks_[index];
    const Program& program = programs_[index];
    while (rank.meaning->call() < kCalls) {
      if (rank.next == program.instructions.size()) {
        for (const std::uint8_t done : rank.done) {
          if (!done) return;
        }
        if (const std::string what = rank.meaning->unfinished(); !what.empty())
          verdict_.problems.push_back("rank " + std::to_string(index) + ": " + what);
        start_call(rank, program);
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
        problem(index, at, meaning(index).check_present(instruction, instruction.in[0], true));
        return meet({index, instruction.peer, instruction.lane}, {index, at}, sends_, receives_, ready);
      case Op::receive:
        meaning(index).overwrite(instruction.out);
        return meet({instruction.peer, index, instruction.lane}, {index, at}, receives_, sends_, ready);
      case Op::expose:
        problem(index, at, meaning(index).check_present(instruction, instruction.in[0], true));
        loans_[{index, instruction.peer}].exposed.push_back({index, at});
        return lend(index, instruction.peer, ready);
      case Op::borrow:
        loans_[{instruction.peer, index}].borrowed.push_back({index, at});
        return lend(instruction.peer, index, ready);
      case Op::release:
        release(index, at, ready);
        break;
      case Op::attend:
      case Op::attend_backward:
      case Op::combine:
      case Op::apply:
        problem(index, at, meaning(index).compute(instruction));
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
    if (meaning(from.rank).call() != meaning(to.rank).call()) problem(to.rank, to.instruction, "meets a send of another call");
    const SlotId source = sender.instructions[from.instruction].in[0];
    const SlotId target = receiver.instructions[to.instruction].out;
    const Role role = sender.slots[source].role;
    if (receiver.slots[target].role != role) return problem(to.rank, to.instruction, "meets a send of another role");
    meaning(to.rank).fill(receiver.instructions[to.instruction]);
    if (sum_of(role) != Role::rows) meaning(to.rank).set_covered(target, meaning(from.rank).covered(source, sent));
    if (meaning(to.rank).call() == 0) {
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
    meaning(to.rank).fill(programs_[to.rank].instructions[to.instruction]);
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
    if (meaning(from.rank).call() != meaning(to.rank).call()) problem(to.rank, to.instruction, "borrows from another call");
    for (std::size_t run = 0; run < lent.size(); ++run) {
      const auto place = meaning(from.rank).contents().find(exposed.in[0], lent[run]);
      if (place == Place{from.rank, borrower.places[borrowed.places + run]}) continue;
      return problem(to.rank, to.instruction, "looks for a cell where its owner does not have it");
    }
    if (meaning(to.rank).call() == 0)
      verdict_.bytes_borrowed += static_cast<std::uint64_t>(layout_.run_bytes(Role::key_value, lent));
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
    meaning(index).give_back(instruction);
    ranks_[from.rank].done[from.instruction] = 1;
    ready.push_back(from.rank);
  }

  void report_stuck() {
    for (std::size_t rank = 0; rank < ranks_.size() && verdict_.problems.size() < kMostProblems; ++rank) {
      if (ranks_[rank].meaning->call() == kCalls) continue;
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
  VisibleUnits visible_;
  std::vector<Rank> ranks_;
  Queues sends_, receives_;
  std::map<std::pair<int, int>, Loans> loans_;  // (owner, borrower)
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
