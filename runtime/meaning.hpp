// What the slots of one rank hold and mean while its program runs, as the verifier knows it: which cells, made in which call; and
// of partials, gradients and what travels of them, what their cells have accumulated.
//
// An operation that reads what is not there, overwrites what it reads, or accumulates something for the second time says so: what
// is wrong is returned as text, empty if nothing is.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/content.hpp"
#include "runtime/coverage.hpp"
#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/scoreboard.hpp"

namespace gyre {

/// For every unit of an axis, those of the other one that have something visible for it. Remembered: all ranks ask for the same.
class VisibleUnits {
 public:
  /// The layout must outlive this.
  explicit VisibleUnits(const Layout& layout) : layout_(layout) {}
  /// role: of a cell of that unit and head.
  const std::vector<int>& to(Role role, std::uint32_t unit, int head);

 private:
  const Layout& layout_;
  std::map<std::pair<bool, int>, std::vector<std::vector<int>>> known_;  // (of keys, head): [unit]
};

class Meaning {
 public:
  /// All must outlive this.
  Meaning(const Layout& layout, const Program& program, const Scoreboard& scoreboard, VisibleUnits& visible);

  void start_call();
  /// attend, attend_backward, combine or apply.
  std::string compute(const Instruction& instruction);
  /// The instruction's cells lie in the slot, made in this call; each run in one piece where they are to be sent.
  std::string check_present(const Instruction& instruction, SlotId slot, bool in_one_piece) const;
  /// Whatever shares bytes with the slot is gone.
  void overwrite(SlotId slot);
  /// A receive or borrow is complete.
  void fill(const Instruction& instruction);
  /// A loan has been given back.
  void give_back(const Instruction& instruction) { contents_.update(instruction); }
  /// What these cells of a slot have accumulated, and where they come to: as shares do from rank to rank.
  Coverage covered(SlotId slot, std::span<const CellRun> runs) const { return holdings_[slot].covered.of(runs); }
  void set_covered(SlotId slot, Coverage covered) { holdings_[slot].covered = std::move(covered); }
  /// What of this rank's rows the call has not finished.
  std::string unfinished() const;
  const Contents& contents() const { return contents_; }
  int call() const { return call_; }

 private:
  struct Holding {
    bool valid = false;
    int call = -1;
    Coverage covered;
  };
  std::string apply(const Instruction& instruction);
  std::string check_attended(const Instruction& instruction) const;
  std::string attend(const Instruction& instruction);
  std::string attend_backward(const Instruction& instruction);
  std::string combine(const Instruction& instruction);
  std::string finish(const Instruction& instruction);
  std::string unfinished(Role role, const std::vector<int>& units) const;
  bool of_this_call(SlotId slot) const { return holdings_[slot].valid && holdings_[slot].call == call_; }
  template <class Visit>
  bool any_content(SlotId slot, Visit&& visit) const;
  void write_in_place(SlotId slot);
  Coverage::Sees sees(Role role) const;
  Role role_of(SlotId slot) const { return program_.slots[slot].role; }
  std::vector<std::uint8_t>& finished(Role role) { return of_keys(role) ? finished_keys_ : finished_queries_; }
  std::size_t index_of(std::uint32_t unit, int head) const {
    return static_cast<std::size_t>(unit) * layout_.problem.key_heads + head;
  }

  const Layout& layout_;
  const Program& program_;
  const Scoreboard& scoreboard_;
  VisibleUnits& visible_;
  Contents contents_;
  std::vector<Holding> holdings_;                               // [slot]
  std::vector<std::uint8_t> finished_queries_, finished_keys_;  // [unit][head] of this call
  int call_ = -1;
};

}  // namespace gyre
