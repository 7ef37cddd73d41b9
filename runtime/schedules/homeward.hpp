// How gradients of cells that travel come home.
//
// In a turn (a way and a step) a rank attends the cells that are here, and what they accumulate of it starts from zero. It takes in
// the shares that came from the stops before (schedules/travel.hpp), and goes on as a share to the next stop or home:
//
//   begin    clear fresh                   attend_backward -> fresh
//   end      combine shares -> fresh       settle fresh -> share       send share on
//   at home  finish fresh, or a share that needs nothing more
//
// A share for a turn is asked for when the one before it on the same way has been taken in, a step earlier: it has as long to
// arrive as that step's attends take. So a rank holds one fresh gradient of a turn, and of shares what comes and goes in one step.
// Where a cell's next stop is further off, its share stays with the sender: nobody ever waits for what another rank does in a later
// turn.
#pragma once

#include <algorithm>
#include <map>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"
#include "runtime/schedules/travel.hpp"

namespace gyre {

class Homeward {
 public:
  /// ways: as many steps on all. role: of gradients that accumulate. lane: of shares. rows: the user slot that finished ones go to.
  /// All must outlive this.
  Homeward(const std::vector<Travel>& ways, const Layout& layout, Role role, std::uint8_t lane, SlotId rows, int rank,
           ProgramBuilder& builder);

  /// Turns come by steps up to steps(), and in each step by ways; all of them have to be opened and closed, also those in which
  /// nothing is attended.
  void open(int way, int step);
  /// The slot that a turn's cells accumulate in, cleared; kNoSlot if none is here. Own cells that are attended last have a turn of
  /// their own, behind the visitors' in Travel::home_step().
  SlotId begin(int way, int step);
  SlotId begin_own(int way);
  void end(int way, int step);
  void end_own(int way);
  /// Finishes what came home.
  void close(int way, int step);

 private:
  struct Coming {  // a share
    int peer;
    int sent;   // the turn in which its sender sends it
    int taken;  // the turn in which it is taken in here
    int order;  // of what a sender sends in one turn
    std::vector<CellRun> runs;
    enum class Use : std::uint8_t { taken_in, finished, taken_in_at_home } use;
    int asked = 0;  // the turn in which it is received into
    SlotId slot = kNoSlot;
  };
  int turn(int way, int step) const { return step * static_cast<int>(ways_.size()) + way; }
  int steps() const { return ways_.front().steps(); }
  std::int64_t bytes(Role role, const std::vector<CellRun>& runs) const { return layout_.run_bytes(role, runs); }
  void plan_coming();
  void order_by_sender();
  /// The turn in which a share that is taken in in some turn is asked for.
  int asked_for(int taken) const { return std::max(0, taken - static_cast<int>(ways_.size()) + 1); }
  void make_slots();
  void make_slots_of_coming();
  void make_slots_of_going();
  void ask(int turn);
  void take(int turn, Coming::Use use);
  void send_on(int way, int step);
  int home_turn(int way, int rank, int last_stop) const;
  void add(Instruction instruction, int turn, const std::vector<CellRun>& runs);

  const std::vector<Travel>& ways_;
  const Layout& layout_;
  Role role_;
  std::uint8_t lane_;
  SlotId rows_;
  int rank_;
  ProgramBuilder& builder_;
  std::vector<Coming> coming_;                     // in the order in which they are asked for
  std::size_t next_ = 0;                           // of coming_: the first that is not asked for yet
  std::map<int, std::vector<std::size_t>> taken_;  // by turn
  SlotId fresh_ = kNoSlot;
  std::map<int, SlotId> going_;  // [turn] shares that leave
};

}  // namespace gyre
