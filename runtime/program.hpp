// Programs: attention over a sharded sequence, as data.
//
// A schedule builds, for every rank, a list of instructions over slots; the executor runs it, the verifier proves it. There is no
// wait instruction: what must precede what follows from slots in program order (scoreboard.hpp).
//
// Inside a node cells need not travel: their owner exposes them in its window, others borrow them there, attend them where they lie
// and release them. The k-th expose from a to b is b's k-th borrow from a; an expose is complete when its borrower has released.
//
// One rank of a causal ring of two:
//
//   apply pack_query        rows -> query            receive  b -> slot0  (stage 1, from rank 1)
//   apply pack_key_value    rows -> own              send     own         (stage 1, to rank 1)
//   apply clear                  -> partial          attend   query, own -> partial     (stage 0)
//                                                    attend   query, slot0 -> partial   (stage 1)
//                                                    apply finish  partial -> rows
//
// Where queries travel, what they have accumulated elsewhere comes home as results (kernels/result.hpp):
//
//   apply clear -> partial            attend visiting query, own -> partial    apply settle partial -> result    send result
//                                     (at home)    receive b -> result         combine result -> partial
//
// Backward, keys and values travel as they do forward. The gradient of a cell starts from zero where it is attended, takes in the
// share of the stop before, and goes on as a share to the next stop, from the last one home:
//
//   apply pack_query -> asked (queries, gradients of outputs, row statistics)      apply clear -> grad_query
//   apply clear -> fresh     attend_backward asked, slot0 -> grad_query, fresh     receive a -> share    combine share -> fresh
//   apply settle fresh -> share'    send share' (stage 2, or home)                 apply finish grad_query -> rows
//   (at home)  receive z -> share   apply finish share -> rows
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cell.hpp"
#include "partition/placement.hpp"

namespace gyre {

enum class Op : std::uint8_t { send, receive, expose, borrow, release, attend, attend_backward, combine, apply };
/// Roles of slots say the rest: queries are packed as forward or as backward asks them; partials and gradients are cleared, settled
/// (to results, to shares) and finished alike.
enum class Function : std::uint8_t { none, pack_query, pack_key_value, clear, settle, finish };
/// What a call computes: results from queries, keys and values, or their gradients from those of the results.
enum class Pass : std::uint8_t { forward, backward };
/// user: the caller's rows. arena: this rank's own memory. window: memory of this rank that the ranks of its node can read.
enum class Space : std::uint8_t { user, arena, window };

using SlotId = std::uint32_t;
inline constexpr SlotId kNoSlot = 0xffffffff;

/// A byte range with a purpose. User slots are the caller's rows: they have no bytes here and programs never write to inputs.
/// A slot may be a part of another: what is written to the part is read through the whole. Parts are one level deep.
struct Slot {
  Role role = Role::rows;
  Space space = Space::arena;
  std::int64_t offset = 0;  // in the arena or window; a multiple of kAlignment
  std::int64_t bytes = 0;
  bool input = false;  // a user slot that is only read
  SlotId part_of = kNoSlot;
};

struct Instruction {
  Op op = Op::apply;
  Function function = Function::none;  // of apply
  std::uint8_t lane = 0;               // of send, receive
  SlotId out = kNoSlot;                // written (attend, combine: also read; release: no longer there)
  SlotId also_out = kNoSlot;           // of attend_backward: the gradients of keys and values; out has those of queries
  SlotId in[2] = {kNoSlot, kNoSlot};   // read. attend: queries, key_value; combine: result or share; finish: what becomes rows
  std::int32_t peer = -1;              // of send, receive, expose, borrow, release
  std::uint32_t runs = 0;              // first of run_count in Program::runs: the cells sent, lent, attended, combined or made
  std::uint32_t run_count = 0;
  std::uint32_t places = 0;  // of borrow: first of run_count in Program::places
  std::uint32_t stage = 0;   // for drawing, deadlines and reports

  std::array<SlotId, 2> outs() const { return {out, also_out}; }
};

/// What one rank does in one call. A slot's content is laid out in the order of the runs that made it, unit-major, from its start.
struct Program {
  int rank = 0;
  Pass pass = Pass::forward;
  std::vector<Slot> slots;
  std::vector<CellRun> runs;
  std::vector<std::int64_t> places;  // of borrowed runs: bytes from the start of the peer's window
  std::vector<Instruction> instructions;
  std::int64_t arena_bytes = 0;
  std::int64_t window_bytes = 0;

  std::span<const CellRun> runs_of(const Instruction& instruction) const {
    return std::span(runs).subspan(instruction.runs, instruction.run_count);
  }
};

/// A schedule with its options bound: the program of every rank, a pure function.
using Schedule = std::function<Program(int rank)>;

/// Whether an instruction computes scores: attend, forward or backward.
constexpr bool attends(Op op) {
  return op == Op::attend || op == Op::attend_backward;
}

std::string to_string(Op op);
std::string to_string(Function function);
/// One line, for messages: "receive slot 5 from 3, stage 2, units 8..11".
std::string describe(const Program& program, std::size_t instruction);

/// Appends slots and instructions; keeps offsets and runs in order.
class ProgramBuilder {
 public:
  explicit ProgramBuilder(int rank, Pass pass = Pass::forward) { program_.rank = rank, program_.pass = pass; }
  SlotId user_slot(bool input);
  SlotId arena_slot(Role role, std::int64_t bytes);
  /// A slot made of parts of these sizes, one after the other.
  struct DividedSlot {
    SlotId whole = kNoSlot;
    std::vector<SlotId> parts;
  };
  DividedSlot divided_slot(Role role, std::span<const std::int64_t> part_bytes);
  /// Runs are appended; returns the index of the instruction.
  std::size_t add(Instruction instruction, std::span<const CellRun> runs = {});
  Program take() &&;

 private:
  Program program_;
};

}  // namespace gyre
