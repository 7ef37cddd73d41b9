#include "runtime/lowered.hpp"

#include <optional>
#include <span>
#include <stdexcept>
#include <string>

namespace gyre {
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

/// Resolves one instruction after the other: what slots hold follows from program order alone.
class Resolver {
 public:
  Resolver(const Program& program, const Layout& layout, const Memory& memory)
      : program_(program), layout_(layout), memory_(memory), contents_(layout, program) {}

  void update(const Instruction& instruction) { contents_.update(instruction); }

  Transfer transfer(const Instruction& instruction) const {
    const SlotId slot = instruction.op == Op::send ? instruction.in[0] : instruction.out;
    Transfer found;
    found.sealed = arriving(instruction);
    for (const CellRun& run : program_.runs_of(instruction)) {
      found.messages.push_back({.bytes = at(contents_.find(slot, run).value()),
                                .size = static_cast<std::size_t>(layout_.run_bytes(program_.slots[slot].role, run))});
    }
    return found;
  }

  Transfer loan(const Instruction& instruction) const {
    const SlotId slot = instruction.op == Op::expose ? instruction.in[0] : instruction.out;
    const std::int64_t bytes = layout_.run_bytes(program_.slots[slot].role, program_.runs_of(instruction));
    Transfer found;
    found.sealed = arriving(instruction);
    found.messages.push_back({.bytes = nullptr, .size = static_cast<std::size_t>(bytes)});
    return found;
  }

  /// Of an apply, and of a combine.
  std::vector<RowCell> apply(const Instruction& instruction) const {
    const SlotId slot = instruction.function == Function::finish ? instruction.in[0] : instruction.out;
    const bool reads_cells = instruction.op == Op::combine || instruction.function == Function::settle;
    const Role role = program_.slots[slot].role;
    const Units& units = layout_.units_of(role);
    const std::int64_t offset = of_keys(role) ? 0 : layout_.problem.first_query_position();
    const auto first = first_rows(units, of_keys(role) ? layout_.keys : layout_.queries, program_.rank);
    std::vector<RowCell> found;
    each_cell(program_.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
      found.push_back({.cell = cell(slot, unit, head),
                       .from = reads_cells ? cell(instruction.in[0], unit, head) : NamedCell{},
                       .first_row = first[unit],
                       .tokens = units.length(static_cast<int>(unit)),
                       .position = units.range(static_cast<int>(unit)).begin + offset});
    });
    return found;
  }

  /// Heads without keys get no queries either: they would only make empty tasks.
  AttendWork attend(const Instruction& instruction) const {
    AttendWork work{.shape = layout_.cell_shape(),
                    .score = layout_.problem.score_rule(),
                    .bands = &layout_.bands(),
                    .heads = {},
                    .chunk_tokens = chunk_tokens()};
    work.heads.resize(layout_.problem.key_heads);
    each_cell(program_.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
      work.heads[head].keys.push_back({.cell = at(contents_.find(instruction.in[1], unit, head).value()),
                                       .positions = layout_.key_units.range(static_cast<int>(unit))});
    });
    contents_.of(instruction.out).each_cell(layout_, [&](std::uint32_t unit, std::uint16_t head, Place place) {
      if (work.heads[head].keys.empty()) return;
      work.heads[head].queries.push_back({.query = at(contents_.find(instruction.in[0], unit, head).value()),
                                          .partial = at(place),
                                          .positions = layout_.query_positions(static_cast<int>(unit))});
    });
    return work;
  }

  AttendBackwardWork attend_backward(const Instruction& instruction) const {
    AttendBackwardWork work{.shape = layout_.cell_shape(),
                            .score = layout_.problem.score_rule(),
                            .bands = &layout_.bands(),
                            .heads = {},
                            .chunk_tokens = chunk_tokens()};
    work.heads.resize(layout_.problem.key_heads);
    each_cell(program_.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
      work.heads[head].keys.push_back({.cell = at(contents_.find(instruction.in[1], unit, head).value()),
                                       .gradient = at(contents_.find(instruction.also_out, unit, head).value()),
                                       .positions = layout_.key_units.range(static_cast<int>(unit))});
    });
    contents_.of(instruction.out).each_cell(layout_, [&](std::uint32_t unit, std::uint16_t head, Place place) {
      if (work.heads[head].keys.empty()) return;
      const std::byte* const asked = at(contents_.find(instruction.in[0], unit, head).value());
      const std::int64_t tokens = layout_.query_units.length(static_cast<int>(unit));
      work.heads[head].queries.push_back({.query = asked,
                                          .grad_out = asked + grad_out_offset(work.shape, tokens),
                                          .row_statistics = asked + row_statistics_offset(work.shape, tokens),
                                          .grad_query = at(place),
                                          .positions = layout_.query_positions(static_cast<int>(unit))});
    });
    return work;
  }

 private:
  /// Of dual chunk attention.
  std::int64_t chunk_tokens() const { return layout_.problem.dual_chunk ? layout_.problem.dual_chunk->length() : 0; }

  NamedCell cell(SlotId slot, std::uint32_t unit, std::uint16_t head) const {
    const Role role = program_.slots[slot].role;
    return {.name = {.role = role, .unit = unit, .head = head},
            .bytes = {at(contents_.find(slot, unit, head).value()),
                      static_cast<std::size_t>(layout_.cell_bytes(role, static_cast<int>(unit)))}};
  }

  std::vector<NamedCell> arriving(const Instruction& instruction) const {
    std::vector<NamedCell> found;
    const bool arrives = instruction.op == Op::receive || instruction.op == Op::borrow;
    if (!arrives || layout_.integrity == Integrity::unchecked) return found;
    each_cell(program_.runs_of(instruction),
              [&](std::uint32_t unit, std::uint16_t head) { found.push_back(cell(instruction.out, unit, head)); });
    return found;
  }

  /// Of another rank's memory nothing is ever written: a program that tries is refused by the verifier, and faults here.
  std::byte* at(Place place) const {
    if (place.sharer == Place::kArena) return memory_.arena.get() + place.offset;
    if (place.sharer == program_.rank) return memory_.window->mine().data() + place.offset;
    return const_cast<std::byte*>(memory_.window->of(place.sharer).data()) + place.offset;
  }

  const Program& program_;
  const Layout& layout_;
  const Memory& memory_;
  Contents contents_;
};

}  // namespace

Lowered::Lowered(const Program& program, const Layout& layout, const Memory& memory, const KernelTable& kernels, int threads,
                 const Scratch& scratch)
    : transfers(program.instructions.size()), row_cells(program.instructions.size()), attends(program.instructions.size()) {
  Resolver resolver(program, layout, memory);
  for (std::size_t index = 0; index < program.instructions.size(); ++index) {
    const Instruction& instruction = program.instructions[index];
    resolver.update(instruction);
    try {
      switch (instruction.op) {
        case Op::send:
        case Op::receive:
          transfers[index] = resolver.transfer(instruction);
          break;
        case Op::expose:
        case Op::borrow:
          transfers[index] = resolver.loan(instruction);
          break;
        case Op::release:
          break;
        case Op::combine:
        case Op::apply:
          row_cells[index] = resolver.apply(instruction);
          break;
        case Op::attend:
          attends[index].emplace(Attend(resolver.attend(instruction), kernels, threads, 0, scratch.forward));
          break;
        case Op::attend_backward:
          attends[index].emplace(AttendBackward(resolver.attend_backward(instruction), kernels, threads, scratch.backward));
          break;
      }
    } catch (const std::bad_optional_access&) {
      broken(program, index, "a cell is not where the program says");
    }
    tickets += transfers[index].messages.size();
  }
}

}  // namespace gyre
