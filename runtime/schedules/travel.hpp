// How cells travel: by a route, and no further than somebody needs them.
//
// A route says where the cells of each rank (their origin) stop, step by step, and from which of their earlier stops they come on:
//
//   ring            holder(o, s) = o + s, each step from the one before        0 -> 1 -> 2 -> 3
//   straight        holder(o, s) = o + s, each step from step 0, their home    0 -> 1, 0 -> 2, 0 -> 3
//   binomial tree   holder(o, s) = o + s, from s without its highest bit       0 -> 1, 0 -> 2, 1 -> 3
//
// A cell stops only where it is needed. Where it has not stopped at the place from which it would come on, it comes straight from
// its home, which has it all the time: a detour. So every rank gets each cell that it needs once, and nothing else is sent.
//
// What a cell accumulates on its way (its gradient) visits its stops in the order of steps, whichever way the cell itself came, and
// goes home from the last: as many transfers as if every stop sent its share home, but sums are made before they cross to another
// node. Its home attends it first, and what it accumulates begins there; or last, when all shares are back, which saves a transfer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// Forward, or backward with what travels then.
enum class Travellers : std::uint8_t { keys, keys_with_gradients, queries_with_gradients };

/// When the home of travelling cells attends them itself, backward: in step 0, or when they have stopped everywhere.
enum class AtHome : std::uint8_t { first, last };

struct Route {
  int steps = 1;                                    // of every rank; in step 0 cells are at home
  std::function<int(int origin, int step)> holder;  // the rank where cells of the origin stop in that step
  std::function<int(int rank, int step)> origin;    // the inverse: whose cells stop there
  std::vector<int> from;                            // [step]: the earlier step from whose holder cells come; 0: from their home
  std::vector<int>
      posted;  // [step]: the step in which they are asked for, which is the sooner the more memory there is; may be < 0
};

/// How far from home cells stop in a step, where ranks are a grid: rank r stands in row r / columns, column r % columns. Both go
/// round.
struct Shift {
  int rows = 0, columns = 0;
};
/// columns: a divisor of the ranks. `from` and `posted` are left to the caller.
Route grid_route(int ranks, int columns, const std::function<Shift(int step)>& shift);

/// Rank r's cells stop at r + s (direction 1) or r - s (direction -1), coming from next door. ahead: see Route::posted.
Route ring_route(int ranks, int direction, int ahead);

/// What one rank sends another in one step: runs that lie in one piece on both sides.
struct Parcel {
  int peer = -1;
  std::uint8_t lane = 0;
  std::vector<CellRun> runs;
};

/// What comes to a rank in a step.
struct Arrival {
  Parcel passed;  // from the stop before
  Parcel detour;  // from their home, because they did not stop there
  bool empty() const { return passed.runs.empty() && detour.runs.empty(); }
};

/// The journeys of some cells of every rank, all by one route. Pure: every rank computes the same of all.
class Travel {
 public:
  /// units: [origin], ascending. heads: begin and end. needs: of cells of that role; must outlive this. Two lanes
  /// are used, from first_lane on.
  Travel(Route route, std::vector<std::vector<int>> units, Range heads, const Needs& needs, int first_lane = 0,
         AtHome at_home = AtHome::first);

  int steps() const { return route_.steps; }
  int origin(int rank, int step) const { return route_.origin(rank, step); }
  int holder(int origin, int step) const { return route_.holder(origin, step); }
  int posted(int step) const { return route_.posted[step]; }
  /// The last step in which what stopped somewhere in this step may still be on its way from there: links may be slow.
  int kept_until(int step) const { return kept_until_[step]; }
  /// All travelling cells of a rank, as they have to lie at home so that every parcel finds its runs in one piece.
  std::vector<CellRun> home(int rank) const;
  /// step: at least 1.
  Arrival arriving(int rank, int step) const;
  /// Cells of the origin that a rank needs when they stop there, ascending for each head; in step 0 those of its own that it needs.
  std::vector<CellRun> present(int rank, int step) const;
  struct Departure {
    int held_since;  // the step in which the rank got them; 0: its own
    Parcel parcel;
  };
  /// What a rank sends in a step, in the order in which the others ask: all of its own cells that go out from home in step 0, where
  /// they stay as they are, so that nobody who is ahead waits for it; what it passes on in the step in which it came.
  std::vector<Departure> leaving(int rank, int step) const;

  /// Cells of an origin whose share comes to them from, or goes on to, another stop of theirs.
  struct Link {
    int step;  // of that stop; kHome: where the share goes in the end
    std::vector<CellRun> runs;
  };
  static constexpr int kHome = 0x10000;  // behind all steps
  AtHome at_home() const { return at_home_; }
  /// The step in which a rank attends its own cells; steps(): behind all others.
  int home_step(int rank) const { return at_home_ == AtHome::first ? 0 : last_stop_[rank] + 1; }
  /// Cells of an origin that stop in a step and so have a share there; in step 0 those that begin at home.
  std::vector<CellRun> stopping(int origin, int step) const;
  /// By ascending steps. None for cells that begin in this step.
  std::vector<Link> came_from(int origin, int step) const;
  std::vector<Link> go_on_to(int origin, int step) const;

 private:
  static constexpr std::uint16_t kNever = 0xffff;
  /// How a cell came to where it stops in a step: the step of its last detour before that, 0 if it was passed on all the way from
  /// home, kNever if it does not stop there. Neighbours lie in one piece where they came the same way.
  std::uint16_t since(int step, int unit, int head) const {
    const std::size_t column = needs_.by_unit() ? 0 : static_cast<std::size_t>(head - heads_.begin);
    return since_[(static_cast<std::size_t>(unit) * columns_ + column) * route_.steps + step];
  }
  void trace(int origin, int unit, int head);
  bool stops(int origin, int unit, int head, int step) const;
  int stop_before(int origin, int unit, int head, int step) const;  // -1: none
  int stop_after(int unit, int head, int step) const;               // kHome: none
  /// other(unit, head): the step of the other stop, or -1.
  template <class Other>
  std::vector<Link> links(int origin, Other&& other) const;
  /// Cells of an origin for which history(unit, head) is not kNever, as runs of those with the same.
  template <class History>
  std::vector<CellRun> runs_where(int origin, History&& history) const;
  std::vector<CellRun> passing(int origin, int step) const;
  std::vector<CellRun> detouring(int origin, int step) const;
  std::uint8_t lane(int which) const { return static_cast<std::uint8_t>(first_lane_ + which); }

  Route route_;
  std::vector<std::vector<int>> units_;
  Range heads_;
  const Needs& needs_;
  int first_lane_;
  AtHome at_home_;
  std::vector<int> last_stop_;             // [origin] of any of its cells; 0: none
  std::vector<std::vector<int>> sent_in_;  // [step]: the steps of others for which something is sent then
  std::vector<int> kept_until_;
  std::size_t columns_ = 1;           // heads that are told apart
  std::vector<std::uint16_t> since_;  // [unit][column][step]
};

}  // namespace gyre
