#include "runtime/executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "comm/heartbeat.hpp"
#include "runtime/apply.hpp"
#include "runtime/lowered.hpp"
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
/// Of a rank that waits in a replay: it leaves its core to others, which have as much right to it.
constexpr auto kReplayedWait = std::chrono::microseconds(20);

constexpr int kLostJob = 3;  // exit status of a job that ends because a rank is lost

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

double work_of(const AnyAttend& attend) {
  return std::visit([](const auto& one) { return one.work(); }, attend);
}

double work_done_of(const AnyAttend& attend) {
  return std::visit([](const auto& one) { return one.work_done(); }, attend);
}

}  // namespace

struct Executor::State {
  Program program;
  const Layout& layout;
  Transport& transport;
  Team& team;
  const KernelTable& kernels;
  Scoreboard scoreboard;
  Positions positions;
  Memory memory;
  Scratch scratch;
  Lowered lowered;
  std::size_t most_events = 0;  // that a call can leave in a timeline
  // Of the call that is going on.
  CallOperands operands;
  CallOptions options;
  CallTime time;
  double work_done = 0;  // of attends that are complete
  double work_total = 0;
  std::size_t current = 0;  // the instruction that is next or computing
  Clock::time_point last_poll;
  std::vector<std::size_t> recorded;                            // transfers in flight whose end a timeline wants
  std::vector<std::unique_ptr<std::byte[], Free>> spare_cells;  // of each worker; none before communication is switched off

  State(Program given, const Layout& a_layout, Transport& a_transport, Team& a_team, const KernelTable& a_kernels, Memory a_memory)
      : program(std::move(given)),
        layout(a_layout),
        transport(a_transport),
        team(a_team),
        kernels(a_kernels),
        scoreboard(program),
        positions(layout.problem, kernels),
        memory(std::move(a_memory)),
        scratch(team.size()),
        lowered(program, layout, memory, kernels, team.size(), scratch) {}

  CallTime call(Pass pass, const CallOperands& of_call, const CallOptions& of_caller);
  void run();
  void withdraw(const char* why);
  void post(std::size_t index);
  void post_transfer(std::size_t index);
  Stage stage_of(std::size_t index) const {
    return {program.pass == Pass::backward ? "backward" : "", program.instructions[index].stage};
  }
  Ticket post_message(const Instruction& instruction, const Message& message);
  void apply(std::size_t index);
  void compute(std::size_t index);
  void replay(std::size_t index);
  NamedCell place_of(const Instruction& instruction, const RowCell& row_cell, int worker);
  void make_spare_cells();
  void seal(const NamedCell& cell, int worker);
  bool complete(std::size_t index);
  void wait(std::size_t index);
  void verify(std::size_t index);
  void poll();
  bool time_to_poll();
  void look_at_recorded();
  void tell_progress();
  void record(std::size_t index, TimelineEvent::Kind kind, Clock::time_point begin) const;
};

void Executor::State::record(std::size_t index, TimelineEvent::Kind kind, Clock::time_point begin) const {
  if (options.timeline == nullptr) return;
  options.timeline->add({static_cast<std::uint32_t>(index), kind, seconds(begin), seconds(Clock::now())});
}

void Executor::State::tell_progress() {
  if (options.progress == nullptr) return;
  const bool attending = current < program.instructions.size() && lowered.attends[current];
  const double done = work_done + (attending ? work_done_of(*lowered.attends[current]) : 0.0);
  (*options.progress)({.share_done = work_total > 0 ? done / work_total : 1.0,
                       .waiting_seconds = time.waiting_seconds,
                       .stage = current < program.instructions.size() ? program.instructions[current].stage : 0});
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
  if (options.wire == Wire::live) {
    transport.progress();
    time.communicating_seconds += seconds_since(last_poll);
  }
  transport.heartbeat().beat();
  look_at_recorded();
  tell_progress();
}

/// A transfer that nobody waits for is seen to be complete here, and not when the call ends.
void Executor::State::look_at_recorded() {
  std::erase_if(recorded, [&](std::size_t index) { return complete(index); });
}

bool Executor::State::complete(std::size_t index) {
  Transfer& transfer = lowered.transfers[index];
  if (!transfer.in_flight) return true;
  for (Message& message : transfer.messages) {
    if (message.in_flight && transport.test(message.ticket)) message.in_flight = false;
    if (message.in_flight) return false;
  }
  transfer.in_flight = false;
  record(index, TimelineEvent::Kind::transfer, transfer.posted);
  return true;
}

void Executor::State::wait(std::size_t index) {
  if (complete(index)) return;
  const auto start = Clock::now();
  transport.heartbeat().set_stage(stage_of(index));
  Waiting waiting(transport.heartbeat(), program.instructions[index].peer);
  while (!complete(index)) {
    waiting.fruitless();
    if (!options.replay.empty()) std::this_thread::sleep_for(kReplayedWait);
    if ((options.progress == nullptr && options.timeline == nullptr) || !time_to_poll()) continue;
    look_at_recorded();
    tell_progress();
  }
  time.waiting_seconds += seconds_since(start);
  record(index, TimelineEvent::Kind::wait, start);
}

void Executor::State::seal(const NamedCell& cell, int worker) {
  if (layout.integrity == Integrity::unchecked) return;
  const auto start = Clock::now();
  seal_cell(cell.name, cell.bytes);
  if (worker == 0) time.integrity_seconds += seconds_since(start);
}

/// What has arrived, before anything reads it or passes it on: a hop that damages a cell is the one that is named.
void Executor::State::verify(std::size_t index) {
  Transfer& transfer = lowered.transfers[index];
  if (!std::exchange(transfer.to_verify, false)) return;
  const auto start = Clock::now();
  const auto one = [&](int task, int worker) {
    if (worker == 0) poll();
    const NamedCell& cell = transfer.sealed[task];
    if (verify_cell(cell.name, cell.bytes)) return;
    const Instruction& instruction = program.instructions[index];
    throw std::runtime_error("rank " + std::to_string(program.rank) + ": the cell of unit " + std::to_string(cell.name.unit) +
                             ", head " + std::to_string(cell.name.head) + " that came from rank " +
                             std::to_string(instruction.peer) + " in stage " + std::to_string(instruction.stage) +
                             " does not match its checksum; look for a fault of that link, or of the memory of one of the two");
  };
  team.run(static_cast<int>(transfer.sealed.size()), one, [&] { poll(); });
  time.integrity_seconds += seconds_since(start);
}

/// Where a cell is made. With communication switched off nobody says when neighbours have read what is lent, so that it stays as it
/// is, and the work is done on a spare cell.
NamedCell Executor::State::place_of(const Instruction& instruction, const RowCell& row_cell, int worker) {
  const bool lent = instruction.out != kNoSlot && program.slots[instruction.out].space == Space::window;
  if (options.wire == Wire::live || !lent) return row_cell.cell;
  return {row_cell.cell.name, {spare_cells[worker].get(), row_cell.cell.bytes.size()}};
}

void Executor::State::make_spare_cells() {
  if (!spare_cells.empty()) return;
  std::size_t largest = kAlignment;
  for (const auto& cells : lowered.row_cells)
    for (const RowCell& row_cell : cells) largest = std::max(largest, row_cell.cell.bytes.size());
  spare_cells.resize(team.size());
  for (auto& cell : spare_cells) {
    cell.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, largest)));
    if (!cell) throw std::bad_alloc();
  }
}

void Executor::State::apply(std::size_t index) {
  const CellShape shape = layout.cell_shape();
  const Instruction& instruction = program.instructions[index];
  const Function function = instruction.function;
  const bool travels = function == Function::pack_query || function == Function::pack_key_value || function == Function::settle;
  const auto& cells = lowered.row_cells[index];
  const auto one = [&](int task, int worker) {
    if (worker == 0) poll();
    const NamedCell place = place_of(instruction, cells[task], worker);
    apply_to_cell(function, kernels, shape, positions, operands, cells[task], place.bytes.data());
    if (travels) seal(place, worker);
  };
  team.run(static_cast<int>(cells.size()), one, [&] { poll(); });
}

Ticket Executor::State::post_message(const Instruction& instruction, const Message& message) {
  const std::span bytes(message.bytes, message.size);
  switch (instruction.op) {
    case Op::send:
      transport.heartbeat().before_sending(instruction.peer);
      return transport.send(instruction.peer, instruction.lane, bytes);
    case Op::receive:
      return transport.receive(instruction.peer, instruction.lane, bytes);
    case Op::expose:
      return transport.expose(instruction.peer, message.size);
    default:
      return transport.borrow(instruction.peer, message.size);
  }
}

void Executor::State::post_transfer(std::size_t index) {
  if (options.wire == Wire::silent) return;
  Transfer& transfer = lowered.transfers[index];
  transfer.posted = Clock::now();
  transfer.in_flight = true;
  transfer.to_verify = !transfer.sealed.empty() && options.replay.empty();
  if (options.timeline != nullptr) recorded.push_back(index);
  for (Message& message : transfer.messages) {
    message.ticket = post_message(program.instructions[index], message);
    message.in_flight = true;
  }
  time.communicating_seconds += seconds_since(transfer.posted);
}

void Executor::State::compute(std::size_t index) {
  if (auto& attend = lowered.attends[index]) {
    std::visit([&](auto& one) { one.run(team, [&] { poll(); }); }, *attend);
  } else {
    apply(index);
  }
}

/// Sleeps for as long as the computation would take, and is awake as often as a rank that computes.
void Executor::State::replay(std::size_t index) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.replay[index]));
  for (auto now = Clock::now(); now < end; now = Clock::now()) {
    std::this_thread::sleep_for(std::min<Clock::duration>(end - now, kPollInterval));
    poll();
  }
}

void Executor::State::post(std::size_t index) {
  const auto start = Clock::now();
  switch (program.instructions[index].op) {
    case Op::send:
    case Op::receive:
    case Op::expose:
    case Op::borrow:
      return post_transfer(index);
    case Op::release:
      if (options.wire == Wire::live) transport.release(program.instructions[index].peer);
      return;
    case Op::attend:
    case Op::attend_backward:
    case Op::combine:
    case Op::apply:
      options.replay.empty() ? compute(index) : replay(index);
      break;
  }
  const bool computes = attends(program.instructions[index].op);
  if (computes) work_done += work_of(*lowered.attends[index]);
  (computes ? time.computing_seconds : time.packing_seconds) += seconds_since(start);
  record(index, TimelineEvent::Kind::compute, start);
}

void Executor::State::run() {
  const std::size_t count = program.instructions.size();
  recorded.clear();
  for (current = 0; current < count; ++current) {
    for (const std::uint32_t source : scoreboard.sources(current)) {
      wait(source);
      verify(source);
    }
    transport.heartbeat().set_stage(stage_of(current));
    post(current);
  }
  for (std::size_t index = 0; index < count; ++index) {
    wait(index);
    verify(index);
  }
  transport.heartbeat().set_stage({"between calls"});
}

// Whoever unwinds leaves others waiting for transfers that never come, and frees memory that they still read and write; so the job
// ends instead.
void Executor::State::withdraw(const char* why) {
  if (lowered.tickets == 0) return;
  try {
    transport.abort(kLostJob, why);
  } catch (const LostPeer&) {
    // Loopback says so here too; the caller rethrows what happened first.
  }
}

CallTime Executor::State::call(Pass pass, const CallOperands& of_call, const CallOptions& of_caller) {
  if (program.pass != pass) throw std::logic_error("a program of one pass is to run with the operands of the other");
  if (of_caller.timeline != nullptr) of_caller.timeline->start(most_events);
  operands = of_call, options = of_caller;
  time = {};
  work_done = 0;
  const auto separate_calls = [&] {
    if (options.wire == Wire::silent) transport.barrier();
  };
  try {
    if (options.wire == Wire::silent) make_spare_cells();
    separate_calls();
    const auto start = Clock::now();
    run();
    time.total_seconds = seconds_since(start);
    separate_calls();
  } catch (const std::exception& error) {
    withdraw(error.what());
    throw;
  }
  return time;
}

Executor::Executor(Program program, const Layout& layout, Transport& transport, Team& team, const KernelTable& kernels,
                   Memory memory)
    : state_(std::make_unique<State>(std::move(program), layout, transport, team, kernels, std::move(memory))) {
  State& state = *state_;
  transport.reserve(state.lowered.tickets);
  state.recorded.reserve(state.program.instructions.size());
  for (std::size_t index = 0; index < state.program.instructions.size(); ++index) {
    state.most_events += 2 + state.scoreboard.sources(index).size();
    if (const auto& attend = state.lowered.attends[index]) state.work_total += work_of(*attend);
  }
}

Executor::~Executor() = default;

CallTime Executor::run(const Operands& operands, const CallOptions& options) {
  return state_->call(Pass::forward, {.forward = &operands}, options);
}

CallTime Executor::run(const GradientOperands& operands, const CallOptions& options) {
  return state_->call(Pass::backward, {.backward = &operands}, options);
}

const Program& Executor::program() const {
  return state_->program;
}

std::int64_t Executor::scratch_bytes() const {
  return static_cast<std::int64_t>(state_->scratch.bytes());
}

}  // namespace gyre
