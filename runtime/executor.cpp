#include "runtime/executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "kernels/attend.hpp"
#include "kernels/pack.hpp"
#include "runtime/content.hpp"
#include "runtime/scoreboard.hpp"

namespace gyre {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Between polls of the transport from inside the tile loop: often enough for a 4 Gbit/s link, rarely enough to cost nothing
/// (polling every 50 us slows TCP down, 0.5 to 1 ms hides it).
constexpr auto kPollInterval = std::chrono::microseconds(500);

constexpr int kLostJob = 3;  // exit status of a job that ends because a rank is lost

/// One message: a run of cells where it lies in the arena.
struct Piece {
  std::byte* bytes;
  std::size_t size;
  Ticket ticket{};
  bool in_flight = false;
};

/// A cell and the caller's rows that it is made from, or that it becomes.
struct RowCell {
  std::byte* cell;
  std::int64_t first_row;
  std::int64_t tokens;
  int head;
};

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

}  // namespace

struct Executor::State {
  Program program;
  const Layout& layout;
  Transport& transport;
  Team& team;
  Scoreboard scoreboard;
  std::unique_ptr<std::byte[], Free> arena;
  // What each instruction does, resolved to addresses; one of the three per instruction.
  std::vector<std::vector<Piece>> pieces;
  std::vector<std::vector<RowCell>> row_cells;
  std::vector<std::unique_ptr<Attend>> attends;
  std::shared_ptr<AttendScratch> scratch;  // of all attends: they run one at a time
  float query_factor = 1;                  // softmax scale in log2 units
  Clock::time_point last_poll;

  State(Program given, const Layout& a_layout, Transport& a_transport, Team& a_team)
      : program(std::move(given)),
        layout(a_layout),
        transport(a_transport),
        team(a_team),
        scoreboard(program),
        scratch(std::make_shared<AttendScratch>(team.size())) {}

  void lower(const KernelTable& kernels, int strips_per_block);
  std::vector<Piece> lower_transfer(const Instruction& instruction, const Content& content);
  std::vector<RowCell> lower_apply(const Instruction& instruction, const Content& content);
  AttendWork lower_attend(const Instruction& instruction, const std::vector<Content>& contents);

  std::byte* at(SlotId slot) const { return arena.get() + program.slots[slot].offset; }

  void run(const Operands& operands, CallTime& time);
  void withdraw(const char* why);
  void post(std::size_t index, const Operands& operands, CallTime& time);
  void apply(std::size_t index, const Operands& operands);
  bool complete(std::size_t index);
  void wait(std::size_t index, CallTime& time);
  void poll();
};

namespace {

[[noreturn]] void broken(const Program& program, std::size_t index, const char* what) {
  throw std::logic_error("rank " + std::to_string(program.rank) + ": " + describe(program, index) + ": " + what);
}

/// Rows of a rank before each of its units: [unit] -> first row.
std::vector<std::int64_t> first_rows(const Units& units, const Placement& placement, int rank) {
  std::vector<std::int64_t> first(units.count(), -1);
  std::int64_t row = 0;
  for (int unit = 0; unit < units.count(); ++unit) {
    if (!placement.holds(rank, unit)) continue;
    first[unit] = row;
    row += units.length(unit);
  }
  return first;
}

template <class Visit>
void each_cell(std::span<const CellRun> runs, Visit&& visit) {
  for (const CellRun& run : runs) {
    for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
      for (int head = run.head; head < run.head + run.heads; ++head) visit(unit, static_cast<std::uint16_t>(head));
    }
  }
}

}  // namespace

// A slot's content follows from program order alone, so addresses are resolved once, here.
void Executor::State::lower(const KernelTable& kernels, int strips_per_block) {
  const std::size_t count = program.instructions.size();
  pieces.resize(count), row_cells.resize(count), attends.resize(count);
  std::vector<Content> contents(program.slots.size());
  std::size_t transfers = 0;
  for (std::size_t index = 0; index < count; ++index) {
    const Instruction& instruction = program.instructions[index];
    const auto runs = program.runs_of(instruction);
    if (instruction.op == Op::receive || (instruction.op == Op::apply && instruction.function != Function::finish)) {
      contents[instruction.out] = Content(layout, program.slots[instruction.out].role, runs);
    }
    try {
      if (instruction.op == Op::send || instruction.op == Op::receive) {
        pieces[index] = lower_transfer(instruction, contents[instruction.op == Op::send ? instruction.in[0] : instruction.out]);
        transfers += pieces[index].size();
      } else if (instruction.op == Op::apply) {
        row_cells[index] =
            lower_apply(instruction, contents[instruction.function == Function::finish ? instruction.in[0] : instruction.out]);
      } else {
        attends[index] =
            std::make_unique<Attend>(lower_attend(instruction, contents), kernels, team.size(), strips_per_block, scratch);
      }
    } catch (const std::bad_optional_access&) {
      broken(program, index, "a cell is not where the program says");
    }
  }
  transport.reserve(transfers);
}

std::vector<Piece> Executor::State::lower_transfer(const Instruction& instruction, const Content& content) {
  std::byte* const base = at(instruction.op == Op::send ? instruction.in[0] : instruction.out);
  std::vector<Piece> found;
  for (const CellRun& run : program.runs_of(instruction)) {
    found.push_back({.bytes = base + content.offset(layout, run).value(),
                     .size = static_cast<std::size_t>(layout.run_bytes(content.role(), run))});
  }
  return found;
}

std::vector<RowCell> Executor::State::lower_apply(const Instruction& instruction, const Content& content) {
  const bool keys = content.role() == Role::key_value;
  const Units& units = keys ? layout.key_units : layout.query_units;
  const auto first = first_rows(units, keys ? layout.keys : layout.queries, program.rank);
  std::byte* const base = at(instruction.function == Function::finish ? instruction.in[0] : instruction.out);
  std::vector<RowCell> found;
  each_cell(program.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
    found.push_back({.cell = base + content.offset(layout, unit, head).value(),
                     .first_row = first[unit],
                     .tokens = units.length(static_cast<int>(unit)),
                     .head = head});
  });
  return found;
}

AttendWork Executor::State::lower_attend(const Instruction& instruction, const std::vector<Content>& contents) {
  const auto [query_slot, key_slot] = std::pair(instruction.in[0], instruction.in[1]);
  AttendWork work{.shape = layout.problem.cell_shape(), .bands = &layout.bands(), .heads = {}};
  work.heads.resize(layout.problem.key_heads);
  each_cell(contents[query_slot].runs(), [&](std::uint32_t unit, std::uint16_t head) {
    work.heads[head].queries.push_back(
        {.query = at(query_slot) + contents[query_slot].offset(layout, unit, head).value(),
         .partial = at(instruction.out) + contents[instruction.out].offset(layout, unit, head).value(),
         .positions = layout.query_positions(static_cast<int>(unit))});
  });
  each_cell(program.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
    work.heads[head].keys.push_back({.cell = at(key_slot) + contents[key_slot].offset(layout, unit, head).value(),
                                     .positions = layout.key_units.range(static_cast<int>(unit))});
  });
  return work;
}

void Executor::State::poll() {
  if (const auto now = Clock::now(); now - last_poll >= kPollInterval) {
    transport.progress();
    last_poll = now;
  }
}

bool Executor::State::complete(std::size_t index) {
  for (Piece& piece : pieces[index]) {
    if (piece.in_flight && transport.test(piece.ticket)) piece.in_flight = false;
    if (piece.in_flight) return false;
  }
  return true;
}

void Executor::State::wait(std::size_t index, CallTime& time) {
  if (complete(index)) return;
  const auto start = Clock::now();
  while (!complete(index)) {
  }
  time.waiting_seconds += seconds_since(start);
}

void Executor::State::apply(std::size_t index, const Operands& operands) {
  const CellShape shape = layout.problem.cell_shape();
  const auto& cells = row_cells[index];
  const auto one = [&](int task, int worker) {
    if (worker == 0) poll();
    const RowCell& c = cells[task];
    switch (program.instructions[index].function) {
      case Function::pack_query:
        return pack_query(shape, operands.queries, c.first_row, c.tokens, c.head, query_factor, c.cell);
      case Function::pack_key_value:
        return pack_key_value(shape, operands.keys, operands.values, c.first_row, c.tokens, c.head, c.cell);
      case Function::clear_partial:
        return clear_partial(shape, c.tokens, c.cell);
      case Function::finish:
        return finish_partial(shape, c.cell, c.tokens, c.head, operands.out, operands.lse, c.first_row);
      case Function::none:
        return;
    }
  };
  team.run(static_cast<int>(cells.size()), one, [&] { poll(); });
}

void Executor::State::post(std::size_t index, const Operands& operands, CallTime& time) {
  const Instruction& instruction = program.instructions[index];
  const auto start = Clock::now();
  switch (instruction.op) {
    case Op::send:
    case Op::receive:
      for (Piece& piece : pieces[index]) {
        const std::span bytes(piece.bytes, piece.size);
        piece.ticket = instruction.op == Op::send ? transport.send(instruction.peer, instruction.lane, bytes)
                                                  : transport.receive(instruction.peer, instruction.lane, bytes);
        piece.in_flight = true;
      }
      return;
    case Op::attend:
      attends[index]->run(team, [&] { poll(); });
      time.computing_seconds += seconds_since(start);
      return;
    case Op::apply:
      apply(index, operands);
      time.packing_seconds += seconds_since(start);
      return;
  }
}

void Executor::State::run(const Operands& operands, CallTime& time) {
  const std::size_t count = program.instructions.size();
  for (std::size_t index = 0; index < count; ++index) {
    for (const std::uint32_t source : scoreboard.sources(index)) wait(source, time);
    post(index, operands, time);
  }
  for (std::size_t index = 0; index < count; ++index) wait(index, time);
}

// Whoever unwinds leaves others waiting for transfers that never come, and frees memory that they still read and write; so the job
// ends instead.
void Executor::State::withdraw(const char* why) {
  if (std::all_of(pieces.begin(), pieces.end(), [](const auto& list) { return list.empty(); })) return;
  try {
    transport.abort(kLostJob, why);
  } catch (const LostPeer&) {
    // Loopback says so here too; the caller rethrows what happened first.
  }
}

Executor::Executor(Program program, const Layout& layout, Transport& transport, Team& team, const KernelTable& kernels,
                   int strips_per_block)
    : state_(std::make_unique<State>(std::move(program), layout, transport, team)) {
  constexpr std::size_t kPage = 4096;
  const auto bytes = static_cast<std::size_t>(round_up(state_->program.arena_bytes, kPage) + kPage);
  state_->arena.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, bytes)));
  if (!state_->arena) throw std::bad_alloc();
  constexpr double kLog2E = 1.4426950408889634;
  state_->query_factor = static_cast<float>(layout.problem.score_scale() * kLog2E);
  state_->lower(kernels, strips_per_block);
}

Executor::~Executor() = default;

CallTime Executor::run(const Operands& operands) {
  CallTime time;
  const auto start = Clock::now();
  try {
    state_->run(operands, time);
  } catch (const std::exception& error) {
    state_->withdraw(error.what());
    throw;
  }
  time.total_seconds = seconds_since(start);
  return time;
}

std::int64_t Executor::arena_bytes() const {
  return state_->program.arena_bytes;
}

std::int64_t Executor::scratch_bytes() const {
  return static_cast<std::int64_t>(state_->scratch->bytes());
}

}  // namespace gyre
