#include "runtime/costs.hpp"

#include <algorithm>
#include <span>

#include "runtime/scoreboard.hpp"

namespace gyre {

namespace {

// Striped placements ask for pairs of single units, ten million times for a plan of 64 ranks: a table is that much quicker than a
// map.
constexpr std::size_t kLargestTable = std::size_t{1} << 22U;  // entries
constexpr double kUnknown = -1;

}  // namespace

PairCounts::PairCounts(const Layout& layout) : layout_(layout) {
  const std::size_t pairs = static_cast<std::size_t>(layout.query_units.count()) * layout.key_units.count();
  if (pairs <= kLargestTable) of_units_.assign(pairs, kUnknown);
}

double PairCounts::pairs(Range query_units, Range key_units) {
  if (!of_units_.empty() && query_units.size() == 1 && key_units.size() == 1) {
    double& known = of_units_[static_cast<std::size_t>(query_units.begin) * layout_.key_units.count() + key_units.begin];
    if (known == kUnknown) known = count(query_units, key_units);
    return known;
  }
  const auto packed = [](Range units) {
    return static_cast<std::uint64_t>(units.begin) << 32 | static_cast<std::uint64_t>(units.end);
  };
  const auto [found, is_new] = known_.try_emplace({packed(query_units), packed(key_units)}, 0);
  if (is_new) found->second = count(query_units, key_units);
  return found->second;
}

double PairCounts::count(Range query_units, Range key_units) const {
  const auto tokens = [](const Units& units, Range run) {
    return Range{units.range(static_cast<int>(run.begin)).begin, units.range(static_cast<int>(run.end - 1)).end};
  };
  const Range queries = tokens(layout_.query_units, query_units) + layout_.problem.first_query_position();
  const Bands& bands = layout_.bands();
  return static_cast<double>(bands.count(queries, tokens(layout_.key_units, key_units))) / bands.heads();
}

namespace {

class Costing {
 public:
  Costing(const Program& program, const Machine& machine, PairCounts& counts)
      : program_(program), machine_(machine), counts_(counts), layout_(counts.layout()), rows_(program.slots.size()) {
    const Problem& problem = layout_.problem;
    flops_per_second_ = machine.kernels.rate(problem.type, (problem.head_dim + problem.value_dim) / 2.0);
  }

  /// In program order: what an attend computes follows from the partial that was cleared last.
  CostedInstruction cost(const Instruction& instruction) {
    CostedInstruction cost{.op = instruction.op, .lane = instruction.lane, .peer = instruction.peer, .stage = instruction.stage};
    switch (instruction.op) {
      case Op::send:
      case Op::receive:
      case Op::expose:
      case Op::borrow:
        cost.bytes = bytes(instruction, instruction.out != kNoSlot ? instruction.out : instruction.in[0]);
        cost.messages = static_cast<std::int32_t>(instruction.run_count);
        break;
      case Op::release:
        break;
      case Op::attend:
      case Op::attend_backward:
        cost.seconds = attend_seconds(instruction);
        break;
      case Op::combine:
      case Op::apply:
        cost.seconds = static_cast<double>(packed_bytes(instruction)) / machine_.kernels.packing_bytes_per_second;
        if (instruction.function == Function::clear) rows_[instruction.out] = program_.runs_of(instruction);
    }
    return cost;
  }

 private:
  std::int64_t bytes(const Instruction& instruction, SlotId slot) const {
    const Role role = program_.slots[slot].role;
    return role == Role::rows ? 0 : layout_.run_bytes(role, program_.runs_of(instruction));
  }

  /// Of the cells that are written, and of those that are read but for packed rows.
  std::int64_t packed_bytes(const Instruction& instruction) const {
    std::int64_t all = bytes(instruction, instruction.out);
    for (const SlotId slot : instruction.in)
      if (slot != kNoSlot) all += bytes(instruction, slot);
    return all;
  }

  double attend_seconds(const Instruction& instruction) {
    const Problem& problem = layout_.problem;
    const KernelModel& kernels = machine_.kernels;
    double pairs = 0;
    for (const CellRun& rows : rows_[instruction.out]) {
      for (const CellRun& keys : program_.runs_of(instruction)) {
        const int heads = std::min(rows.head + rows.heads, keys.head + keys.heads) - std::max(rows.head, keys.head);
        if (heads <= 0) continue;
        pairs += heads * counts_.pairs({rows.unit, std::int64_t{rows.unit} + rows.units},
                                       {keys.unit, std::int64_t{keys.unit} + keys.units});
      }
    }
    pairs *= problem.group();
    const int dims =
        instruction.op == Op::attend ? problem.head_dim + problem.value_dim : 3 * problem.head_dim + 2 * problem.value_dim;
    const double flops = 2 * pairs * dims;
    const auto key_bytes = static_cast<double>(layout_.run_bytes(Role::key_value, program_.runs_of(instruction)));
    return kernels.attend_seconds + pairs / static_cast<double>(layout_.key_units.unit_tokens()) * kernels.row_unit_seconds +
           std::max(flops / flops_per_second_, key_bytes / kernels.memory_bytes_per_second);
  }

  const Program& program_;
  const Machine& machine_;
  PairCounts& counts_;
  const Layout& layout_;
  double flops_per_second_ = 0;
  std::vector<std::span<const CellRun>> rows_;  // [slot] cells that a partial or gradient accumulates for
};

}  // namespace

CostedProgram costs_of(const Program& program, const Machine& machine, PairCounts& counts) {
  CostedProgram costed{.instructions = {}, .sources = {}, .memory_bytes = program.arena_bytes + program.window_bytes};
  costed.instructions.reserve(program.instructions.size());
  const Scoreboard scoreboard(program);
  Costing costing(program, machine, counts);
  for (std::size_t index = 0; index < program.instructions.size(); ++index) {
    CostedInstruction& cost = costed.instructions.emplace_back(costing.cost(program.instructions[index]));
    const auto sources = scoreboard.sources(index);
    cost.sources = static_cast<std::uint32_t>(costed.sources.size());
    cost.source_count = static_cast<std::uint32_t>(sources.size());
    costed.sources.insert(costed.sources.end(), sources.begin(), sources.end());
  }
  return costed;
}

}  // namespace gyre
