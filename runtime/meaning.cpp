#include "runtime/meaning.hpp"

#include <algorithm>

#include "partition/work.hpp"

namespace gyre {
namespace {

std::string named(Role role, std::uint32_t unit) {
  return (of_keys(role) ? "key unit " : "query unit ") + std::to_string(unit);
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

const std::vector<int>& VisibleUnits::to(Role role, std::uint32_t unit, int head) {
  const bool by_head = layout_.bands().heads() > 1, keys = of_keys(role);
  const auto [found, is_new] = known_.try_emplace({keys, by_head ? head : 0});
  if (is_new) {
    found->second.resize(layout_.units_of(role).count());
    const Range heads = Heads{layout_.problem.key_heads, layout_.problem.group()}.queries_of(head);
    for (int query = 0; query < layout_.query_units.count(); ++query) {
      for (const int key : key_units_seen(layout_.bands(), layout_.query_positions(query), layout_.key_units, heads))
        found->second[keys ? key : query].push_back(keys ? query : key);
    }
  }
  return found->second[unit];
}

Meaning::Meaning(const Layout& layout, const Program& program, const Scoreboard& scoreboard, VisibleUnits& visible)
    : layout_(layout),
      program_(program),
      scoreboard_(scoreboard),
      visible_(visible),
      contents_(layout, program),
      holdings_(program.slots.size()) {
  for (const Role role : {Role::query, Role::key_value})
    finished(role).resize(static_cast<std::size_t>(layout.units_of(role).count()) * layout.problem.key_heads);
}

void Meaning::start_call() {
  ++call_;
  for (const Role role : {Role::query, Role::key_value}) std::fill(finished(role).begin(), finished(role).end(), 0);
}

void Meaning::overwrite(SlotId slot) {
  for (const SlotId other : scoreboard_.overlapping(slot)) holdings_[other].valid = false;
}

void Meaning::fill(const Instruction& instruction) {
  contents_.update(instruction);
  holdings_[instruction.out].valid = true;
  holdings_[instruction.out].call = call_;
}

/// What overlaps the slot is gone, what it holds stays.
void Meaning::write_in_place(SlotId slot) {
  overwrite(slot);
  holdings_[slot].valid = true;
}

/// visit(content) of the slot and of its parts, as far as they hold something of this call; true if some visit says so.
template <class Visit>
bool Meaning::any_content(SlotId slot, Visit&& visit) const {
  if (of_this_call(slot) && visit(contents_.of(slot))) return true;
  const auto parts = contents_.parts(slot);
  return std::any_of(parts.begin(), parts.end(), [&](SlotId part) { return of_this_call(part) && visit(contents_.of(part)); });
}

std::string Meaning::check_present(const Instruction& instruction, SlotId slot, bool in_one_piece) const {
  const std::string name = "slot " + std::to_string(slot);
  if (!any_content(slot, [](const Content&) { return true; })) return "reads " + name + ", which holds nothing of this call";
  for (const CellRun& run : program_.runs_of(instruction)) {
    if (any_content(slot, [&](const Content& content) { return content.find(layout_, run).has_value(); })) continue;
    if (in_one_piece) return "sends cells that do not lie in " + name + " in one piece";
    std::string missing;
    each_cell(std::span(&run, 1), [&](std::uint32_t unit, std::uint16_t head) {
      if (!any_content(slot, [&](const Content& content) { return content.find(layout_, unit, head).has_value(); }))
        missing = "reads a cell of unit " + std::to_string(unit) + " that " + name + " does not hold";
    });
    if (!missing.empty()) return missing;
  }
  return {};
}

std::string Meaning::compute(const Instruction& instruction) {
  switch (instruction.op) {
    case Op::attend:
      return attend(instruction);
    case Op::attend_backward:
      return attend_backward(instruction);
    case Op::combine:
      return combine(instruction);
    default:
      return apply(instruction);
  }
}

std::string Meaning::apply(const Instruction& instruction) {
  if (instruction.function == Function::finish) return finish(instruction);
  const bool settles = instruction.function == Function::settle;
  if (settles) {
    if (std::string what = check_present(instruction, instruction.in[0], false); !what.empty()) return what;
  }
  overwrite(instruction.out);
  if (settles && !holdings_[instruction.in[0]].valid) return "overwrites what it reads";
  fill(instruction);
  const auto runs = program_.runs_of(instruction);
  if (settles) set_covered(instruction.out, covered(instruction.in[0], runs));
  if (instruction.function == Function::clear) {
    const bool keys = of_keys(role_of(instruction.out));
    set_covered(instruction.out, Coverage(runs, (keys ? layout_.query_units : layout_.key_units).count()));
  }
  return {};
}

/// All that an attend reads is there; what it adds to is of this call.
std::string Meaning::check_attended(const Instruction& instruction) const {
  if (std::string what = check_present(instruction, instruction.in[1], false); !what.empty()) return what;
  for (const SlotId slot : instruction.outs())
    if (slot != kNoSlot && !of_this_call(slot)) return "adds to a slot that holds nothing of this call";
  bool queries = true;
  holdings_[instruction.out].covered.each_row([&](Coverage::RowCell row) {
    queries = queries && any_content(instruction.in[0], [&](const Content& content) {
                return content.find(layout_, row.first, row.second).has_value();
              });
  });
  return queries ? "" : "reads queries that are not there";
}

std::string Meaning::attend(const Instruction& instruction) {
  if (std::string what = check_attended(instruction); !what.empty()) return what;
  const auto again = holdings_[instruction.out].covered.attend(program_.runs_of(instruction), sees(Role::partial));
  if (again) return "attends unit " + std::to_string(*again) + " for the second time";
  write_in_place(instruction.out);
  return {};
}

/// As attend, and the other way round: keys accumulate queries.
std::string Meaning::attend_backward(const Instruction& instruction) {
  if (std::string what = check_attended(instruction); !what.empty()) return what;
  if (std::string what = check_present(instruction, instruction.also_out, false); !what.empty()) return what;
  const auto keys = program_.runs_of(instruction);
  Coverage& queries = holdings_[instruction.out].covered;
  std::vector<CellRun> rows;
  queries.each_row([&](Coverage::RowCell row) { rows.push_back({row.first, 1, row.second, 1}); });
  if (const auto key = queries.attend(keys, sees(Role::grad_query)))
    return "attends key unit " + std::to_string(*key) + " for the second time";
  Coverage added(keys, layout_.query_units.count());
  added.attend(rows, sees(Role::grad_key_value));
  if (const auto query = holdings_[instruction.also_out].covered.combine(added, keys, sees(Role::grad_key_value)))
    return "adds to gradients of keys from query unit " + std::to_string(*query) + " again";
  write_in_place(instruction.out);
  write_in_place(instruction.also_out);
  return {};
}

std::string Meaning::combine(const Instruction& instruction) {
  for (const SlotId slot : {instruction.in[0], instruction.out}) {
    if (std::string what = check_present(instruction, slot, false); !what.empty()) return what;
  }
  const Coverage& added = holdings_[instruction.in[0]].covered;
  Coverage& sum = holdings_[instruction.out].covered;
  if (const auto again = sum.combine(added, program_.runs_of(instruction), sees(role_of(instruction.out))))
    return "combines unit " + std::to_string(*again) + " for the second time";
  write_in_place(instruction.out);
  return {};
}

/// Of what cells of that role accumulate: units of the other axis.
Coverage::Sees Meaning::sees(Role role) const {
  return [this, keys = of_keys(role)](std::uint32_t unit, int other) {
    const int query_unit = keys ? other : static_cast<int>(unit), key_unit = keys ? static_cast<int>(unit) : other;
    return layout_.bands().cover(layout_.query_positions(query_unit), layout_.key_units.range(key_unit)) != Cover::empty;
  };
}

std::string Meaning::finish(const Instruction& instruction) {
  if (std::string what = check_present(instruction, instruction.in[0], false); !what.empty()) return what;
  const Role role = role_of(instruction.in[0]);
  const Coverage& covered = holdings_[instruction.in[0]].covered;
  std::string what;
  each_cell(program_.runs_of(instruction), [&](std::uint32_t unit, std::uint16_t head) {
    if (!what.empty()) return;
    for (const int other : visible_.to(role, unit, head)) {
      if (covered.covers({unit, head}, other)) continue;
      what = "finishes " + named(role, unit) + " without unit " + std::to_string(other);
      return;
    }
    if (finished(role)[index_of(unit, head)]++) what = "finishes " + named(role, unit) + " twice";
  });
  return what;
}

std::string Meaning::unfinished() const {
  const std::string queries = unfinished(Role::query, layout_.query_units_of(program_.rank));
  if (!queries.empty() || program_.pass == Pass::forward) return queries;
  return unfinished(Role::key_value, layout_.key_units_of(program_.rank));
}

std::string Meaning::unfinished(Role role, const std::vector<int>& units) const {
  const auto& finished = of_keys(role) ? finished_keys_ : finished_queries_;
  for (const int unit : units) {
    for (int head = 0; head < layout_.problem.key_heads; ++head) {
      if (finished[index_of(static_cast<std::uint32_t>(unit), head)]) continue;
      return named(role, static_cast<std::uint32_t>(unit)) + " is never finished";
    }
  }
  return {};
}

}  // namespace gyre
