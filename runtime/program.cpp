#include "runtime/program.hpp"

#include <utility>

namespace gyre {

std::string to_string(Op op) {
  switch (op) {
    case Op::send:
      return "send";
    case Op::receive:
      return "receive";
    case Op::expose:
      return "expose";
    case Op::borrow:
      return "borrow";
    case Op::release:
      return "release";
    case Op::attend:
      return "attend";
    case Op::attend_backward:
      return "attend_backward";
    case Op::combine:
      return "combine";
    case Op::apply:
      return "apply";
  }
  return "?";
}

std::string to_string(Function function) {
  switch (function) {
    case Function::none:
      return "none";
    case Function::pack_query:
      return "pack_query";
    case Function::pack_key_value:
      return "pack_key_value";
    case Function::clear:
      return "clear";
    case Function::settle:
      return "settle";
    case Function::finish:
      return "finish";
  }
  return "?";
}

namespace {

std::string describe(const CellRun& run) {
  return std::to_string(run.unit) + ".." + std::to_string(std::int64_t{run.unit} + run.units - 1);
}

}  // namespace

std::string describe(const Program& program, std::size_t index) {
  const Instruction& instruction = program.instructions[index];
  std::string text = instruction.op == Op::apply ? to_string(instruction.function) : to_string(instruction.op);
  for (const SlotId slot : instruction.in) {
    if (slot != kNoSlot) text += " slot " + std::to_string(slot);
  }
  if (instruction.out != kNoSlot) text += " -> slot " + std::to_string(instruction.out);
  if (instruction.also_out != kNoSlot) text += " and slot " + std::to_string(instruction.also_out);
  if (instruction.op == Op::send || instruction.op == Op::expose || instruction.op == Op::release) {
    text += " to " + std::to_string(instruction.peer);
  }
  if (instruction.op == Op::receive || instruction.op == Op::borrow) text += " from " + std::to_string(instruction.peer);
  text += ", stage " + std::to_string(instruction.stage);
  const char* separator = ", units ";
  for (const CellRun& run : program.runs_of(instruction)) text += std::exchange(separator, " ") + describe(run);
  return text;
}

SlotId ProgramBuilder::user_slot(bool input) {
  program_.slots.push_back({.role = Role::rows, .space = Space::user, .input = input});
  return static_cast<SlotId>(program_.slots.size() - 1);
}

SlotId ProgramBuilder::arena_slot(Role role, std::int64_t bytes) {
  program_.slots.push_back({.role = role, .space = Space::arena, .offset = program_.arena_bytes, .bytes = bytes});
  program_.arena_bytes += round_up(bytes, kAlignment);
  return static_cast<SlotId>(program_.slots.size() - 1);
}

ProgramBuilder::DividedSlot ProgramBuilder::divided_slot(Role role, std::span<const std::int64_t> part_bytes) {
  DividedSlot slot{.whole = arena_slot(role, 0), .parts = {}};
  for (const std::int64_t bytes : part_bytes) {
    slot.parts.push_back(arena_slot(role, bytes));
    program_.slots[slot.parts.back()].part_of = slot.whole;
  }
  program_.slots[slot.whole].bytes = program_.arena_bytes - program_.slots[slot.whole].offset;
  return slot;
}

std::size_t ProgramBuilder::add(Instruction instruction, std::span<const CellRun> runs) {
  instruction.runs = static_cast<std::uint32_t>(program_.runs.size());
  instruction.run_count = static_cast<std::uint32_t>(runs.size());
  program_.runs.insert(program_.runs.end(), runs.begin(), runs.end());
  program_.instructions.push_back(instruction);
  return program_.instructions.size() - 1;
}

Program ProgramBuilder::take() && {
  return std::move(program_);
}

}  // namespace gyre
