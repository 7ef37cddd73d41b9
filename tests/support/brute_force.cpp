#include "support/brute_force.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <tuple>
#include <vector>

namespace gyre::test {
namespace {

constexpr std::int64_t kLine = 64;

struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a partial or gradient has accumulated: how often each (unit of the other axis, head) was added.
using Covered = std::map<std::pair<std::uint32_t, int>, int>;

struct Symbol {
  Role role = Role::rows;  // rows: poison
  std::uint32_t unit = 0;
  int head = 0;
  std::int64_t line = 0;
  int call = -1;
  std::shared_ptr<Covered> covered;
};

struct Cell {
  std::uint32_t unit;
  int head;
  int rank;                 // whose memory it lies in
  std::int64_t first_line;  // of that memory: the window comes after the arena
  std::int64_t lines;
};

class BruteMachine {
 public:
  BruteMachine(const Layout& layout, std::span<const Program> programs, std::uint64_t seed, std::span<const int> nodes)
      : layout_(layout), programs_(programs), nodes_(nodes), random_(seed), ranks_(programs.size()) {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      ranks_[rank].memory.resize(window_line(programs[rank]) + programs[rank].window_bytes / kLine + 1);
      restart(ranks_[rank], programs[rank]);
    }
  }

  void run() {
    while (true) {
      std::vector<std::pair<int, std::size_t>> moves;  // (rank, -) posts next; (-, k) a transfer moves
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        finish_call(static_cast<int>(rank));
        if (can_post(static_cast<int>(rank))) moves.emplace_back(static_cast<int>(rank), 0);
      }
      for (std::size_t k = 0; k < transfers_.size(); ++k) {
        if (transfers_[k].send && transfers_[k].receive && !transfers_[k].complete) moves.emplace_back(-1, k);
      }
      for (auto& [pair, loans] : loans_) {
        for (std::size_t k = 0; k < loans.size(); ++k) {
          if (loans[k].exposed && loans[k].borrowed && !loans[k].met) moves.emplace_back(-2, k), loan_moves_.push_back(&loans[k]);
          if (loans[k].released && !loans[k].complete) moves.emplace_back(-2, k), loan_moves_.push_back(&loans[k]);
        }
      }
      if (moves.empty()) break;
      const std::size_t drawn = random_() % moves.size();
      const auto [rank, transfer] = moves[drawn];
      if (rank >= 0) {
        post(rank);
      } else if (rank == -1) {
        move(transfers_[transfer]);
      } else {
        move(*loan_moves_[drawn - (moves.size() - loan_moves_.size())]);
      }
      loan_moves_.clear();
    }
    for (const Rank& rank : ranks_) {
      if (rank.call < 2) throw Wrong("stuck");
    }
  }

 private:
  struct Side {
    int rank;
    std::size_t instruction;
    std::vector<std::pair<int, std::int64_t>> lines;  // (whose memory, line)
  };
  struct Transfer {
    std::optional<Side> send, receive;
    std::size_t copied = 0;
    bool complete = false;
  };
  /// A loan goes on from the meeting of its two sides until its release has been seen.
  struct Loan {
    std::optional<std::pair<int, std::size_t>> exposed, borrowed;  // (rank, instruction)
    std::vector<Cell> cells;                                       // where the owner has them
    bool met = false, released = false, complete = false;
  };
  struct Rank {
    std::vector<Symbol> memory;
    std::vector<std::uint8_t> posted, done;
    std::vector<std::vector<Cell>> content;                   // [slot] by program order
    std::set<std::tuple<bool, std::uint32_t, int>> finished;  // (of keys, unit, head)
    std::size_t next = 0;
    int call = 0;
  };

  static void restart(Rank& rank, const Program& program) {
    rank.posted.assign(program.instructions.size(), 0);
    rank.done.assign(program.instructions.size(), 0);
    rank.content.assign(program.slots.size(), {});
    rank.finished.clear();
    rank.next = 0;
  }

  void finish_call(int index) {
    Rank& rank = ranks_[index];
    if (rank.call == 2 || rank.next < rank.done.size()) return;
    for (const auto done : rank.done) {
      if (!done) return;
    }
    require_finished(index, false);
    if (programs_[index].pass == Pass::backward) require_finished(index, true);
    ++rank.call;
    if (rank.call < 2) restart(rank, programs_[index]);
  }

  void require_finished(int index, bool keys) const {
    const int units = keys ? layout_.key_units.count() : layout_.query_units.count();
    for (int unit = 0; unit < units; ++unit) {
      for (int head = 0; head < layout_.problem.key_heads; ++head) {
        const bool mine = (keys ? layout_.keys : layout_.queries).owner(unit) == index;
        if (mine != (ranks_[index].finished.count({keys, unit, head}) == 1)) throw Wrong("rows are missing or foreign");
      }
    }
  }

  static std::pair<std::int64_t, std::int64_t> range(const Program& program, SlotId slot) {
    const Slot& s = program.slots.at(slot);
    if (s.space == Space::user) return {-1 - std::int64_t{slot}, -std::int64_t{slot}};
    const std::int64_t begin = s.offset + (s.space == Space::window ? window_line(program) * kLine : 0);
    return {begin, begin + s.bytes};
  }

  static std::int64_t window_line(const Program& program) { return program.arena_bytes / kLine + 1; }

  /// Straight from the definition: an instruction waits for every earlier one that writes what it touches or reads what it writes.
  static bool conflict(const Program& program, const Instruction& a, const Instruction& b) {
    const auto touches = [&](SlotId x, SlotId y) {
      if (x == kNoSlot || y == kNoSlot) return false;
      if (x == y || program.slots.at(x).part_of == y || program.slots.at(y).part_of == x) return true;
      const auto [x0, x1] = range(program, x);
      const auto [y0, y1] = range(program, y);
      return x0 < y1 && y0 < x1;
    };
    for (const SlotId out : {a.out, a.also_out}) {
      for (const SlotId in : b.in) {
        if (touches(out, in)) return true;
      }
      if (touches(out, b.out) || touches(out, b.also_out)) return true;
    }
    for (const SlotId in : a.in) {
      if (touches(in, b.out) || touches(in, b.also_out)) return true;
    }
    return false;
  }

  bool can_post(int index) const {
    const Rank& rank = ranks_[index];
    const Program& program = programs_[index];
    if (rank.call == 2 || rank.next == program.instructions.size()) return false;
    for (std::size_t earlier = 0; earlier < rank.next; ++earlier) {
      if (!rank.done[earlier] && conflict(program, program.instructions[earlier], program.instructions[rank.next])) return false;
    }
    return true;
  }

  static bool about_keys(Role role) {
    return role == Role::key_value || role == Role::grad_key_value || role == Role::grad_key_value_share;
  }

  std::int64_t lines_of(Role role, std::uint32_t unit) const {
    const Units& units = about_keys(role) ? layout_.key_units : layout_.query_units;
    return cell_bytes(role, layout_.cell_shape(), units.length(static_cast<int>(unit))) / kLine;
  }

  /// Cells of runs laid out from the slot's start.
  std::vector<Cell> cells_of(const Program& program, SlotId slot, std::span<const CellRun> runs) const {
    std::vector<Cell> cells;
    const Slot& s = program.slots.at(slot);
    if (s.space == Space::user || s.offset < 0 || s.offset % kLine != 0) throw Wrong("not a slot of the arena");
    const auto [begin, end] = range(program, slot);
    std::int64_t line = begin / kLine;
    const auto units = static_cast<std::uint32_t>(about_keys(s.role) ? layout_.key_units.count() : layout_.query_units.count());
    for (const CellRun& run : runs) {
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) {
          if (unit >= units || head >= layout_.problem.key_heads) throw Wrong("no such cell");
          cells.push_back({unit, head, program.rank, line, lines_of(s.role, unit)});
          line += cells.back().lines;
        }
      }
    }
    if (!cells.empty() && line * kLine > end) throw Wrong("slot overflows");
    const std::int64_t most = s.space == Space::arena ? program.arena_bytes : program.window_bytes;
    if (s.offset + s.bytes > most) throw Wrong("slot outside of its memory");
    return cells;
  }

  /// Where the wanted cells lie in a slot or in its parts, given what program order says they hold.
  static std::vector<Cell> find(const Rank& rank, const Program& program, SlotId slot, std::span<const CellRun> wanted,
                                bool in_one_piece) {
    auto there = rank.content.at(slot);
    for (SlotId part = 0; part < program.slots.size(); ++part) {
      if (program.slots[part].part_of != slot) continue;
      const auto& more = rank.content.at(part);
      there.insert(there.end(), more.begin(), more.end());
    }
    std::vector<Cell> found;
    for (const CellRun& run : wanted) {
      std::int64_t expected = -1;
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) {
          const Cell* match = nullptr;
          for (const Cell& cell : there) {
            if (!match && cell.unit == unit && cell.head == head) match = &cell;
          }
          if (!match) throw Wrong("cell not in slot");
          if (in_one_piece && expected >= 0 && (match->first_line != expected || match->rank != found.back().rank))
            throw Wrong("run in pieces");
          expected = match->first_line + match->lines;
          found.push_back(*match);
        }
      }
    }
    return found;
  }

  void require(const Rank& rank, Role role, const Cell& cell) const {
    for (std::int64_t line = 0; line < cell.lines; ++line) {
      const Symbol& symbol = ranks_[cell.rank].memory[cell.first_line + line];
      if (symbol.role != role || symbol.unit != cell.unit || symbol.head != cell.head || symbol.line != line ||
          symbol.call != rank.call) {
        throw Wrong("memory holds something else");
      }
    }
  }

  static void write(Rank& rank, Role role, const Cell& cell) {
    const auto covered = std::make_shared<Covered>();
    for (std::int64_t line = 0; line < cell.lines; ++line) {
      rank.memory[cell.first_line + line] = {role, cell.unit, cell.head, line, rank.call, covered};
    }
  }

  void post(int index) {
    Rank& rank = ranks_[index];
    const Program& program = programs_[index];
    const std::size_t at = rank.next++;
    const Instruction& instruction = program.instructions[at];
    const auto runs = program.runs_of(instruction);
    rank.posted[at] = 1;
    const bool receives = instruction.op == Op::receive;
    if (receives || (instruction.op == Op::apply && instruction.function != Function::finish)) {
      rank.content.at(instruction.out) = cells_of(program, instruction.out, runs);
    }
    if (instruction.op == Op::expose || instruction.op == Op::borrow || instruction.op == Op::release) return lend(index, at);
    if (receives || instruction.op == Op::send) {
      const SlotId slot = receives ? instruction.out : instruction.in[0];
      Side side{index, at, {}};
      for (const Cell& cell : find(rank, program, slot, runs, true)) {
        for (std::int64_t line = 0; line < cell.lines; ++line) side.lines.emplace_back(cell.rank, cell.first_line + line);
      }
      if (receives) {
        for (const auto& [holder, line] : side.lines) ranks_[holder].memory[line] = {};
      }
      const int peer = instruction.peer;
      return meet(receives ? std::tuple(peer, index, int{instruction.lane}) : std::tuple(index, peer, int{instruction.lane}),
                  receives, std::move(side));
    }
    const bool attends = instruction.op == Op::attend || instruction.op == Op::attend_backward;
    attends ? attend(rank, program, instruction) : apply(index, rank, program, instruction);
    rank.done[at] = 1;
  }

  void meet(const std::tuple<int, int, int>& channel, bool receives, Side side) {
    auto& count = posted_[{channel, receives}];
    auto& list = order_[channel];
    if (list.size() <= count) list.push_back(transfers_.size()), transfers_.emplace_back();
    Transfer& transfer = transfers_[list[count++]];
    (receives ? transfer.receive : transfer.send) = std::move(side);
    if (!transfer.send || !transfer.receive) return;
    if (transfer.send->lines.size() != transfer.receive->lines.size()) throw Wrong("sizes differ");
  }

  /// Copies a few lines, or reports completion.
  void move(Transfer& transfer) {
    Rank& from = ranks_[transfer.send->rank];
    Rank& to = ranks_[transfer.receive->rank];
    const std::size_t count = transfer.send->lines.size();
    const std::size_t most = 1 + random_() % (count + 1);
    for (std::size_t k = 0; k < most && transfer.copied < count; ++k, ++transfer.copied) {
      const auto [source, source_line] = transfer.send->lines[transfer.copied];
      const auto [target, target_line] = transfer.receive->lines[transfer.copied];
      ranks_[target].memory[target_line] = ranks_[source].memory[source_line];
    }
    if (transfer.copied < count || random_() % 2 == 0) return;
    transfer.complete = true;
    from.done[transfer.send->instruction] = 1;
    to.done[transfer.receive->instruction] = 1;
  }

  Loan& loan(int owner, int borrower, std::size_t number) {
    auto& list = loans_[{owner, borrower}];
    if (list.size() <= number) list.resize(number + 1);
    return list[number];
  }

  /// The k-th expose, borrow and release between two ranks belong to each other.
  void lend(int index, std::size_t at) {
    Rank& rank = ranks_[index];
    const Program& program = programs_[index];
    const Instruction& instruction = program.instructions[at];
    const int peer = instruction.peer;
    if (peer < 0 || peer >= static_cast<int>(ranks_.size()) || peer == index || nodes_.empty() || nodes_[peer] != nodes_[index]) {
      throw Wrong("lends to another node");
    }
    const bool owns = instruction.op == Op::expose;
    std::size_t& count = lent_[{owns ? index : peer, owns ? peer : index, instruction.op}];
    Loan& mine = loan(owns ? index : peer, owns ? peer : index, count++);
    if (instruction.op == Op::expose) {
      if (program.slots.at(instruction.in[0]).space != Space::window) throw Wrong("lends private memory");
      mine.exposed.emplace(index, at);
      mine.cells = find(rank, program, instruction.in[0], program.runs_of(instruction), true);
    } else if (instruction.op == Op::borrow) {
      mine.borrowed.emplace(index, at);
      add_borrowed(rank, program, instruction);
    } else {
      if (!mine.met || programs_[index].instructions[mine.borrowed->second].out != instruction.out) throw Wrong("releases nothing");
      std::erase_if(rank.content.at(instruction.out), [&](const Cell& cell) { return cell.rank == peer; });
      mine.released = true;
      rank.done[at] = 1;
    }
  }

  void add_borrowed(Rank& rank, const Program& program, const Instruction& instruction) {
    const auto runs = program.runs_of(instruction);
    for (std::size_t k = 0; k < runs.size(); ++k) {
      std::int64_t line = window_line(programs_[instruction.peer]) + program.places.at(instruction.places + k) / kLine;
      for (std::uint32_t unit = runs[k].unit; unit < runs[k].unit + runs[k].units; ++unit) {
        for (int head = runs[k].head; head < runs[k].head + runs[k].heads; ++head) {
          if (unit >= static_cast<std::uint32_t>(layout_.key_units.count()) || head >= layout_.problem.key_heads)
            throw Wrong("no such cell");
          rank.content.at(instruction.out).push_back({unit, head, instruction.peer, line, lines_of(Role::key_value, unit)});
          line += lines_of(Role::key_value, unit);
        }
      }
    }
  }

  /// The borrower learns that it may read; or the owner that it may write again.
  void move(Loan& loan) {
    if (!loan.met) {
      const auto [borrower, at] = *loan.borrowed;
      const Program& program = programs_[borrower];
      std::size_t k = 0;
      for (const Cell& cell : ranks_[borrower].content.at(program.instructions[at].out)) {
        if (cell.rank != loan.exposed->first) continue;
        if (k == loan.cells.size() || cell.first_line != loan.cells[k].first_line || cell.unit != loan.cells[k].unit) {
          throw Wrong("borrows what is not lent");
        }
        ++k;
      }
      if (k != loan.cells.size()) throw Wrong("lends more than is borrowed");
      loan.met = true;
      ranks_[borrower].done[at] = 1;
    } else {
      loan.complete = true;
      ranks_[loan.exposed->first].done[loan.exposed->second] = 1;
    }
  }

  void attend(Rank& rank, const Program& program, const Instruction& instruction) {
    const auto& partials = rank.content.at(instruction.out);
    std::vector<Cell> queries;
    for (const Cell& partial : partials) {
      const CellRun row{.unit = partial.unit, .units = 1, .head = static_cast<std::uint16_t>(partial.head), .heads = 1};
      queries.push_back(find(rank, program, instruction.in[0], {&row, 1}, false).front());
    }
    const auto keys = find(rank, program, instruction.in[1], program.runs_of(instruction), false);
    std::map<int, std::uint32_t> last;  // by head
    for (const Cell& key : keys) {
      if (last.contains(key.head) && key.unit <= last[key.head]) throw Wrong("keys do not ascend: kernels would miss some");
      last[key.head] = key.unit;
    }
    const bool backward = instruction.op == Op::attend_backward;
    for (const Cell& query : queries) require(rank, backward ? Role::backward_query : Role::query, query);
    for (const Cell& key : keys) require(rank, Role::key_value, key);
    for (const Cell& partial : partials) {
      require(rank, backward ? Role::grad_query : Role::partial, partial);
      for (const Cell& key : keys) {
        if (key.head == partial.head) ++(*rank.memory[partial.first_line].covered)[{key.unit, key.head}];
      }
    }
    if (!backward) return;
    for (const Cell& gradient : find(rank, program, instruction.also_out, program.runs_of(instruction), false)) {
      require(rank, Role::grad_key_value, gradient);
      for (const Cell& query : partials) {
        if (query.head == gradient.head) ++(*rank.memory[gradient.first_line].covered)[{query.unit, query.head}];
      }
    }
  }

  /// Of what accumulates and of what travels of it, if the two belong together.
  static std::pair<Role, Role> roles(const Program& program, SlotId sum, SlotId share) {
    const std::pair found(program.slots.at(sum).role, program.slots.at(share).role);
    if (found == std::pair(Role::partial, Role::result) || found == std::pair(Role::grad_query, Role::grad_query_share) ||
        found == std::pair(Role::grad_key_value, Role::grad_key_value_share))
      return found;
    throw Wrong("sums and shares of different things");
  }

  void combine(Rank& rank, const Program& program, const Instruction& instruction) {
    const auto runs = program.runs_of(instruction);
    const auto results = find(rank, program, instruction.in[0], runs, false);
    const auto partials = find(rank, program, instruction.out, runs, false);
    for (std::size_t k = 0; k < results.size(); ++k) {
      const auto [sum, share] = roles(program, instruction.out, instruction.in[0]);
      require(rank, share, results[k]);
      require(rank, sum, partials[k]);
      Covered& covered = *rank.memory[partials[k].first_line].covered;
      for (const auto& [key, times] : *rank.memory[results[k].first_line].covered) covered[key] += times;
    }
  }

  void settle(Rank& rank, const Program& program, const Instruction& instruction) {
    const auto runs = program.runs_of(instruction);
    const auto partials = find(rank, program, instruction.in[0], runs, false);
    const auto results = cells_of(program, instruction.out, runs);
    for (std::size_t k = 0; k < results.size(); ++k) {
      const auto [sum, share] = roles(program, instruction.in[0], instruction.out);
      require(rank, sum, partials[k]);
      const Covered covered = *rank.memory[partials[k].first_line].covered;
      write(rank, share, results[k]);
      *rank.memory[results[k].first_line].covered = covered;
    }
  }

  void apply(int index, Rank& rank, const Program& program, const Instruction& instruction) {
    if (instruction.op == Op::combine) return combine(rank, program, instruction);
    if (instruction.function == Function::settle) return settle(rank, program, instruction);
    const auto runs = program.runs_of(instruction);
    if (instruction.function == Function::finish) {
      for (const Cell& cell : find(rank, program, instruction.in[0], runs, false)) {
        const Role role = program.slots.at(instruction.in[0]).role;
        const bool forward = role == Role::partial || role == Role::result;
        if (forward == (program.pass == Pass::backward) || role == Role::query || role == Role::backward_query ||
            role == Role::key_value)
          throw Wrong("finishes something else");
        require(rank, role, cell);
        judge(role, cell, *rank.memory[cell.first_line].covered);
        if (!rank.finished.insert({about_keys(role), cell.unit, cell.head}).second) throw Wrong("finished twice");
      }
      return;
    }
    const Role role = program.slots.at(instruction.out).role;
    for (const Cell& cell : cells_of(program, instruction.out, runs)) {
      const Placement& placement = about_keys(role) ? layout_.keys : layout_.queries;
      const bool foreign = placement.owner(static_cast<int>(cell.unit)) != index;
      if (foreign && instruction.function != Function::clear) throw Wrong("packs rows of another rank");
      write(rank, role, cell);
    }
  }

  bool seen_by_group(std::int64_t query, std::int64_t key, int key_head) const {
    const int group = layout_.problem.group();
    for (int head = key_head * group; head < (key_head + 1) * group; ++head) {
      if (layout_.bands().visible(query, key, head)) return true;
    }
    return false;
  }

  /// Every visible pair exactly once.
  void judge(Role role, const Cell& cell, const Covered& covered) const {
    const Range mine = about_keys(role) ? layout_.key_units.range(static_cast<int>(cell.unit))
                                        : layout_.query_positions(static_cast<int>(cell.unit));
    const Units& others = about_keys(role) ? layout_.query_units : layout_.key_units;
    const std::int64_t begin = about_keys(role) ? layout_.problem.first_query_position() : 0;
    for (std::int64_t a = mine.begin; a < mine.end; ++a) {
      for (std::int64_t b = 0; b < others.tokens(); ++b) {
        if (!(about_keys(role) ? seen_by_group(b + begin, a, cell.head) : seen_by_group(a, b, cell.head))) continue;
        const auto found = covered.find({static_cast<std::uint32_t>(others.unit_of(b)), cell.head});
        if (found == covered.end() || found->second != 1) throw Wrong("a pair is missing or counted twice");
      }
    }
  }

  const Layout& layout_;
  std::span<const Program> programs_;
  std::span<const int> nodes_;
  std::mt19937_64 random_;
  std::vector<Rank> ranks_;
  std::vector<Transfer> transfers_;
  std::map<std::tuple<int, int, int>, std::vector<std::size_t>> order_;
  std::map<std::pair<std::tuple<int, int, int>, bool>, std::size_t> posted_;
  std::map<std::pair<int, int>, std::deque<Loan>> loans_;  // (owner, borrower)
  std::map<std::tuple<int, int, Op>, std::size_t> lent_;
  std::vector<Loan*> loan_moves_;
};

}  // namespace

std::string brute_force(const Layout& layout, std::span<const Program> programs, std::uint64_t seed, std::span<const int> nodes) {
  try {
    BruteMachine(layout, programs, seed, nodes).run();
  } catch (const std::exception& wrong) {
    return wrong.what();
  }
  return {};
}

}  // namespace gyre::test
