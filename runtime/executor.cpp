#include "runtime/executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "comm/heartbeat.hpp"
#include "kernels/attend.hpp"
#include "kernels/pack.hpp"
#include "runtime/content.hpp"
#include "runtime/scoreboard.hpp"

namespace gyre {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

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

/// All messages of a send or receive.
struct Transfer {
  std::vector<Piece> pieces;
  bool in_flight = false;
  Clock::time_point posted;
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
  std::vector<Transfer> transfers;
  std::vector<std::vector<RowCell>> row_cells;
  std::vector<std::unique_ptr<Attend>> attends;
  std::shared_ptr<AttendScratch> scratch;  // of all attends: they run one at a time
  std::size_t most_events = 0;             // that a call can leave in a timeline
  // Of the call that is going on.
  CallOptions options;
  CallTime time;
  double work_done = 0;  // of attends that are complete
  double work_total = 0;
  std::size_t current = 0;  // the instruction that is next or computing
  Clock::time_point last_poll;
  std::vector<std::size_t> recorded;  // transfers in flight whose end a timeline wants

  State(Program given, const Layout& a_layout, Transport& a_transport, Team& a_team)
      : program(std::move(given)),
        layout(a_layout),
        transport(a_transport),
        team(a_team),
        scoreboard(program),
        scratch(std::make_shared<AttendScratch>(team.size())) {}

  void lower(const KernelTable& kernels, int strips_per_block);
  std::vector<Piece> lower_transfer(const Instruction& instruction, const Contents& contents) const;
  std::vector<RowCell> lower_apply(const Instruction& instruction, const Contents& contents) const;
  AttendWork lower_attend(const Instruction& instruction, const Contents& contents) const;

  std::byte* at(Place place) const { return arena.get() + place.offset; }

  void run(const Operands& operands);
  void withdraw(const char* why);
  void post(std::size_t index, const Operands& operands);
  void post_transfer(std::size_t index);
  void apply(std::size_t index, const Operands& operands);
  bool complete(std::size_t index);
  void wait(std::size_t index);
  void poll();
  bool time_to_poll();
  void look_at_recorded();
  void tell_progress();
  void record(std::size_t index, TimelineEvent::Kind kind, Clock::time_point begin) const;
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

// What slots hold follows from program order alone, so addresses are resolved once, here.
void Executor::State::lower(const KernelTable& kernels, int strips_per_block) {
  const std::size_t count = program.instructions.size();
  transfers.resize(count), row_cells.resize(count), attends.resize(count);
  Contents contents(layout, program);
  std::size_t messages = 0;
  for (std::size_t index = 0; index < count; ++index) {
    const Instruction& instruction = program.instructions[index];
    contents.update(instruction);
    most_events += 2 + scoreboard.sources(index).size();
    try {
      if (instruction.op == Op::send || instruction.op == Op::receive) {
        transfers[index].pieces = lower_transfer(instruction, contents);
        messages += transfers[index].pieces.size();
      } else if (instruction.op == Op::apply) {
        row_cells[index] = lower_apply(instruction, contents);
      } else {
        attends[index] =
            std::make_unique<Attend>(lower_attend(instruction, contents), kernels, team.size(), strips_per_block, scratch);
        work_total += attends[index]->work();
      }
    } catch (const std::bad_optional_access&) {
      broken(program, index, "a cell is not where the program says");
    }
  }
  transport.reserve(messages);
  recorded.reserve(count);
}

std::vector<Piece> Executor::State::lower_transfer(const Instruction& instruction, const Contents& contents) const {
  const SlotId slot = instruction.op == Op::send ? instruction.in[0] : instruction.out;
  std::vector<Piece> found;
  for (const CellRun& run : program.runs_of(instruction)) {
    found.push_back({.bytes = at(contents.find(slot, run).value()),
                     .size = static_cast<std::size_t>(layout.run_bytes(program.slots[slot].role, run))});
  }
  return found;
}

std::vector<RowCell> Executor::State::lower_apply(const Instruction& instruction, const Contents& contents) const {
  const SlotId slot = instruction.function == Function::finish ? instruction.in[0] : instruction.out;
  const bool keys = program.slots[slot].role == Role::key_value;
  const Units& units = keys ? layout.key_units : layout.query_units;
  const auto first = first_rows(units, keys ? layout.keys : layout.queries, program.rank);
  std::vector<RowCell> found;
  each_cell(program.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
    found.push_back({.cell = at(contents.find(slot, unit, head).value()),
                     .first_row = first[unit],
                     .tokens = units.length(static_cast<int>(unit)),
                     .head = head});
  });
  return found;
}

/// Heads without keys get no queries either: they would only make empty tasks.
AttendWork Executor::State::lower_attend(const Instruction& instruction, const Contents& contents) const {
  AttendWork work{
      .shape = layout.problem.cell_shape(), .score = layout.problem.score_rule(), .bands = &layout.bands(), .heads = {}};
  work.heads.resize(layout.problem.key_heads);
  each_cell(program.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
    work.heads[head].keys.push_back({.cell = at(contents.find(instruction.in[1], unit, head).value()),
                                     .positions = layout.key_units.range(static_cast<int>(unit))});
  });
  contents.of(instruction.in[0]).each_cell(layout, [&](std::uint32_t unit, std::uint16_t head, Place place) {
    if (work.heads[head].keys.empty()) return;
    work.heads[head].queries.push_back({.query = at(place),
                                        .partial = at(contents.find(instruction.out, unit, head).value()),
                                        .positions = layout.query_positions(static_cast<int>(unit))});
  });
  return work;
}

void Executor::State::record(std::size_t index, TimelineEvent::Kind kind, Clock::time_point begin) const {
  if (options.timeline == nullptr) return;
  options.timeline->add({static_cast<std::uint32_t>(index), kind, seconds(begin), seconds(Clock::now())});
}

void Executor::State::tell_progress() {
  if (options.progress == nullptr) return;
  const Attend* const attend = current < attends.size() ? attends[current].get() : nullptr;
  const double done = work_done + (attend != nullptr ? attend->work_done() : 0.0);
  (*options.progress)({.share_done = work_total > 0 ? done / work_total : 1.0,
                       .waiting_seconds = time.waiting_seconds,
                       .stage = current < attends.size() ? program.instructions[current].stage : 0});
}

bool Executor::State::time_to_poll() {
  const auto now = Clock::now();
  if (now - last_poll < kPollInterval) return false;
  last_poll = now;
  return true;
}

/// This rank computes: transfers go on meanwhile, and whoever asks hears that it lives.
void Executor::State::poll() {
  if (!time_to_poll()) return;
  if (options.wire == Wire::live) transport.progress();
  transport.heartbeat().beat();
  look_at_recorded();
  tell_progress();
}

/// A transfer that nobody waits for is seen to be complete here, and not when the call ends.
void Executor::State::look_at_recorded() {
  std::erase_if(recorded, [&](std::size_t index) { return complete(index); });
}

bool Executor::State::complete(std::size_t index) {
  Transfer& transfer = transfers[index];
  if (!transfer.in_flight) return true;
  for (Piece& piece : transfer.pieces) {
    if (piece.in_flight && transport.test(piece.ticket)) piece.in_flight = false;
    if (piece.in_flight) return false;
  }
  transfer.in_flight = false;
  record(index, TimelineEvent::Kind::transfer, transfer.posted);
  return true;
}

void Executor::State::wait(std::size_t index) {
  if (complete(index)) return;
  const auto start = Clock::now();
  transport.heartbeat().set_stage({"", program.instructions[index].stage});
  Waiting waiting(transport.heartbeat(), program.instructions[index].peer);
  while (!complete(index)) {
    waiting.fruitless();
    if ((options.progress == nullptr && options.timeline == nullptr) || !time_to_poll()) continue;
    look_at_recorded();
    tell_progress();
  }
  time.waiting_seconds += seconds_since(start);
  record(index, TimelineEvent::Kind::wait, start);
}

void Executor::State::apply(std::size_t index, const Operands& operands) {
  const CellShape shape = layout.problem.cell_shape();
  const auto& cells = row_cells[index];
  const auto one = [&](int task, int worker) {
    if (worker == 0) poll();
    const RowCell& c = cells[task];
    switch (program.instructions[index].function) {
      case Function::pack_query:
        return pack_query(shape, operands.queries, c.first_row, c.tokens, c.head, c.cell);
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

void Executor::State::post_transfer(std::size_t index) {
  const Instruction& instruction = program.instructions[index];
  Transfer& transfer = transfers[index];
  if (options.wire == Wire::silent) return;
  transfer.posted = Clock::now();
  transfer.in_flight = true;
  if (options.timeline != nullptr) recorded.push_back(index);
  for (Piece& piece : transfer.pieces) {
    const std::span bytes(piece.bytes, piece.size);
    piece.ticket = instruction.op == Op::send ? transport.send(instruction.peer, instruction.lane, bytes)
                                              : transport.receive(instruction.peer, instruction.lane, bytes);
    piece.in_flight = true;
  }
}

void Executor::State::post(std::size_t index, const Operands& operands) {
  const auto start = Clock::now();
  switch (program.instructions[index].op) {
    case Op::send:
    case Op::receive:
      return post_transfer(index);
    case Op::attend:
      attends[index]->run(team, [&] { poll(); });
      work_done += attends[index]->work();
      time.computing_seconds += seconds_since(start);
      break;
    case Op::apply:
      apply(index, operands);
      time.packing_seconds += seconds_since(start);
      break;
  }
  record(index, TimelineEvent::Kind::compute, start);
}

void Executor::State::run(const Operands& operands) {
  const std::size_t count = program.instructions.size();
  recorded.clear();
  for (current = 0; current < count; ++current) {
    for (const std::uint32_t source : scoreboard.sources(current)) wait(source);
    transport.heartbeat().set_stage({"", program.instructions[current].stage});
    post(current, operands);
  }
  for (std::size_t index = 0; index < count; ++index) wait(index);
  transport.heartbeat().set_stage({"between calls"});
}

// Whoever unwinds leaves others waiting for transfers that never come, and frees memory that they still read and write; so the job
// ends instead.
void Executor::State::withdraw(const char* why) {
  if (std::all_of(transfers.begin(), transfers.end(), [](const Transfer& transfer) { return transfer.pieces.empty(); })) return;
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
  state_->lower(kernels, strips_per_block);
}

Executor::~Executor() = default;

CallTime Executor::run(const Operands& operands, const CallOptions& options) {
  if (options.timeline != nullptr) options.timeline->start(state_->most_events);
  const auto start = Clock::now();
  state_->options = options;
  state_->time = {};
  state_->work_done = 0;
  try {
    state_->run(operands);
  } catch (const std::exception& error) {
    state_->withdraw(error.what());
    throw;
  }
  state_->time.total_seconds = seconds_since(start);
  return state_->time;
}

const Program& Executor::program() const {
  return state_->program;
}

std::int64_t Executor::arena_bytes() const {
  return state_->program.arena_bytes;
}

std::int64_t Executor::scratch_bytes() const {
  return static_cast<std::int64_t>(state_->scratch->bytes());
}

}  // namespace gyre
