#include "runtime/well_formed.hpp"

#include <vector>

namespace gyre {
namespace {

/// The roles that an instruction's slots must have; Role::rows for a slot of the caller's.
struct Signature {
  bool has_out;
  Role out;
  int ins;
  Role in[2];
  Role also_out = Role::rows;  // none, if it is that
};

bool travels(Role role) {
  return role == Role::query || role == Role::key_value || role == Role::backward_query || sum_of(role) != Role::rows;
}

/// The slot whose role says what kind of cells an instruction is about, where there are several.
SlotId named_slot(const Instruction& instruction) {
  const bool packs = instruction.op == Op::apply && instruction.function == Function::pack_query;
  const bool clears = instruction.op == Op::apply && instruction.function == Function::clear;
  return packs || clears || instruction.op == Op::receive ? instruction.out : instruction.in[0];
}

/// named: the role of named_slot(). Where that does not fit, the signature fits nothing either.
Signature signature_of(const Instruction& instruction, Role named) {
  switch (instruction.op) {
    case Op::send:
      return {false, Role::rows, 1, {travels(named) ? named : Role::key_value, Role::rows}};
    case Op::receive:
      return {true, travels(named) ? named : Role::key_value, 0, {}};
    case Op::expose:
      return {false, Role::rows, 1, {Role::key_value, Role::rows}};
    case Op::borrow:
    case Op::release:
      return {true, Role::key_value, 0, {}};
    case Op::attend:
      return {true, Role::partial, 2, {Role::query, Role::key_value}};
    case Op::attend_backward:
      return {true, Role::grad_query, 2, {Role::backward_query, Role::key_value}, Role::grad_key_value};
    case Op::combine:
      return sum_of(named) != Role::rows ? Signature{true, sum_of(named), 1, {named, Role::rows}}
                                         : Signature{true, Role::partial, 1, {Role::result, Role::rows}};
    case Op::apply:
      break;
  }
  switch (instruction.function) {
    case Function::pack_query:
      if (named == Role::backward_query) return {true, named, 2, {Role::rows, Role::rows}};
      return {true, Role::query, 1, {Role::rows, Role::rows}};
    case Function::pack_key_value:
      return {true, Role::key_value, 2, {Role::rows, Role::rows}};
    case Function::clear:
      return {true, share_of(named) != Role::rows ? named : Role::partial, 0, {}};
    case Function::settle:
      return share_of(named) != Role::rows ? Signature{true, share_of(named), 1, {named, Role::rows}}
                                           : Signature{true, Role::result, 1, {Role::partial, Role::rows}};
    case Function::finish: {
      const bool finishes = share_of(named) != Role::rows || sum_of(named) != Role::rows;
      return {true, Role::rows, 1, {finishes ? named : Role::partial, Role::rows}};
    }
    case Function::none:
      break;
  }
  return {true, Role::rows, 0, {}};
}

/// Slots of the right roles, cells that exist, everything inside its bounds. Empty if sound.
std::string malformed_instruction(const Layout& layout, const Program& program, const Instruction& instruction,
                                  std::span<const int> nodes) {
  if (instruction.op == Op::apply && instruction.function == Function::none) return "applies nothing";
  const SlotId named = named_slot(instruction);
  const Role named_role = named < program.slots.size() ? program.slots[named].role : Role::rows;
  const Signature signature = signature_of(instruction, named_role);
  const auto fits = [&](SlotId slot, bool wanted, Role role) {
    return wanted ? slot < program.slots.size() && program.slots[slot].role == role : slot == kNoSlot;
  };
  if (!fits(instruction.out, signature.has_out, signature.out)) return "writes a slot of the wrong role";
  if (!fits(instruction.also_out, signature.also_out != Role::rows, signature.also_out)) return "writes a slot of the wrong role";
  for (int operand = 0; operand < 2; ++operand) {
    if (!fits(instruction.in[operand], operand < signature.ins, signature.in[operand])) return "reads a slot of the wrong role";
  }
  if (signature.has_out && program.slots[instruction.out].input) return "writes to an input";
  if (std::size_t{instruction.runs} + instruction.run_count > program.runs.size()) return "names runs that do not exist";
  const bool loan = instruction.op == Op::expose || instruction.op == Op::borrow || instruction.op == Op::release;
  const bool transfer = loan || instruction.op == Op::send || instruction.op == Op::receive;
  if (transfer && (instruction.peer < 0 || instruction.peer >= layout.ranks)) return "has a peer that does not exist";
  if (loan && (instruction.peer == program.rank || nodes[instruction.peer] != nodes[program.rank])) return "lends to another node";
  if (instruction.op == Op::expose && program.slots[instruction.in[0]].space != Space::window)
    return "lends what is not in the window";
  if (instruction.op == Op::borrow && std::size_t{instruction.places} + instruction.run_count > program.places.size()) {
    return "names places that do not exist";
  }

  const bool keys = loan || attends(instruction.op) || instruction.function == Function::pack_key_value || of_keys(named_role);
  const auto units = static_cast<std::uint32_t>(keys ? layout.key_units.count() : layout.query_units.count());
  const auto heads = layout.problem.key_heads;
  for (const CellRun& run : program.runs_of(instruction)) {
    if (run.units == 0 || run.heads == 0 || run.unit >= units || run.units > units - run.unit || run.head + run.heads > heads) {
      return "names cells that do not exist";
    }
    const bool of_rows = instruction.function != Function::clear && instruction.function != Function::settle;
    if (instruction.op != Op::apply || !of_rows) continue;
    for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
      if (!(keys ? layout.keys : layout.queries).holds(program.rank, static_cast<int>(unit))) return "uses rows of another rank";
    }
  }
  if (attends(instruction.op)) {  // kernels accumulate and search in the order of positions
    std::vector<std::uint32_t> next(heads, 0);
    for (const CellRun& run : program.runs_of(instruction)) {
      for (int head = run.head; head < run.head + run.heads; ++head) {
        if (run.unit < next[head]) return "attends cells that do not ascend";
        next[head] = run.unit + run.units;
      }
    }
  }
  const bool fills = instruction.op == Op::receive || (instruction.op == Op::apply && instruction.function != Function::finish);
  if (fills) {
    const Slot& slot = program.slots[instruction.out];
    if (layout.run_bytes(slot.role, program.runs_of(instruction)) > slot.bytes) return "fills more than its slot";
  }
  return {};
}

std::string malformed_slots(const Program& program) {
  for (const Slot& slot : program.slots) {
    if (slot.space == Space::user) continue;
    const std::int64_t most = slot.space == Space::arena ? program.arena_bytes : program.window_bytes;
    if (slot.offset < 0 || slot.bytes < 0 || slot.offset + slot.bytes > most) return "a slot lies outside the arena";
    if (slot.offset % kAlignment != 0) return "a slot is not aligned";
    if (slot.part_of == kNoSlot) continue;
    if (slot.part_of >= program.slots.size()) return "a slot is a part of none";
    const Slot& whole = program.slots[slot.part_of];
    if (whole.part_of != kNoSlot || whole.role != slot.role || whole.space != slot.space)
      return "a slot is a part of what is no whole";
    if (slot.offset < whole.offset || slot.offset + slot.bytes > whole.offset + whole.bytes)
      return "a part lies outside of its whole";
  }
  return {};
}

}  // namespace

std::string malformed(const Layout& layout, const Program& program, std::span<const int> nodes) {
  if (std::string what = malformed_slots(program); !what.empty()) return what;
  for (std::size_t index = 0; index < program.instructions.size(); ++index) {
    const std::string what = malformed_instruction(layout, program, program.instructions[index], nodes);
    if (!what.empty()) return "instruction " + std::to_string(index) + " " + what;
  }
  return {};
}

}  // namespace gyre
