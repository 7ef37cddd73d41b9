#include "runtime/content.hpp"

#include <algorithm>
#include <tuple>

namespace gyre {

Content::Content(const Layout& layout, Role role, std::span<const CellRun> runs, Place start) : role_(role) {
  entries_.reserve(runs.size());
  for (const CellRun& run : runs) {
    entries_.push_back({run, start});
    start.offset += layout.run_bytes(role, run);
  }
  index();
}

void Content::add(Role role, const CellRun& run, Place place) {
  role_ = role;
  entries_.push_back({run, place});
  index();
}

void Content::remove(std::int32_t sharer) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.place.sharer == sharer; });
  index();
}

void Content::index() {
  const auto key = [](const Entry& entry) { return std::tuple(entry.run.head, entry.run.heads, entry.run.unit); };
  const auto before = [&](const Entry& a, const Entry& b) { return key(a) < key(b); };
  if (!std::is_sorted(entries_.begin(), entries_.end(), before)) std::stable_sort(entries_.begin(), entries_.end(), before);
  groups_.clear();
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    const CellRun& run = entries_[at].run;
    if (groups_.empty() || groups_.back().head != run.head || groups_.back().heads != run.heads) {
      groups_.push_back({run.head, run.heads, at, at});
    }
    groups_.back().end = at + 1;
  }
}

std::optional<Place> Content::find(const Layout& layout, std::uint32_t unit, std::uint16_t head) const {
  for (const Group& group : groups_) {
    if (head < group.head || head >= group.head + group.heads) continue;
    const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(group.begin);
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(group.end);
    const auto after = std::upper_bound(begin, end, unit, [](std::uint32_t u, const Entry& entry) { return u < entry.run.unit; });
    if (after == begin) continue;
    const auto& [run, place] = *std::prev(after);
    if (unit >= run.unit + run.units) continue;
    const CellRun before{.unit = run.unit, .units = unit - run.unit, .head = run.head, .heads = run.heads};
    return place + (layout.run_bytes(role_, before) + (head - run.head) * layout.cell_bytes(role_, static_cast<int>(unit)));
  }
  return std::nullopt;
}

std::optional<Place> Content::find(const Layout& layout, const CellRun& run) const {
  const auto first = find(layout, run.unit, run.head);
  const std::uint32_t last_unit = run.unit + run.units - 1;
  const auto last = find(layout, last_unit, static_cast<std::uint16_t>(run.head + run.heads - 1));
  if (!first || !last || first->sharer != last->sharer) return std::nullopt;
  const std::int64_t bytes = last->offset + layout.cell_bytes(role_, static_cast<int>(last_unit)) - first->offset;
  return bytes == layout.run_bytes(role_, run) ? first : std::nullopt;
}

Contents::Contents(const Layout& layout, const Program& program)
    : layout_(layout), program_(program), contents_(program.slots.size()), parts_(program.slots.size()) {
  for (SlotId slot = 0; slot < program.slots.size(); ++slot) {
    if (program.slots[slot].part_of != kNoSlot) parts_[program.slots[slot].part_of].push_back(slot);
  }
}

void Contents::update(const Instruction& instruction) {
  const auto runs = program_.runs_of(instruction);
  if (instruction.op == Op::borrow) {
    const Role role = program_.slots[instruction.out].role;
    for (std::size_t index = 0; index < runs.size(); ++index) {
      contents_[instruction.out].add(role, runs[index], {instruction.peer, program_.places[instruction.places + index]});
    }
  } else if (instruction.op == Op::release) {
    contents_[instruction.out].remove(instruction.peer);
  } else if (instruction.op == Op::receive || (instruction.op == Op::apply && instruction.function != Function::finish)) {
    const Slot& slot = program_.slots[instruction.out];
    const std::int32_t sharer = slot.space == Space::window ? program_.rank : Place::kArena;
    contents_[instruction.out] = Content(layout_, slot.role, runs, {sharer, slot.offset});
  }
}

std::optional<Place> Contents::find(SlotId slot, std::uint32_t unit, std::uint16_t head) const {
  if (const auto found = contents_[slot].find(layout_, unit, head)) return found;
  for (const SlotId part : parts_[slot]) {
    if (const auto found = contents_[part].find(layout_, unit, head)) return found;
  }
  return std::nullopt;
}

std::optional<Place> Contents::find(SlotId slot, const CellRun& run) const {
  if (const auto found = contents_[slot].find(layout_, run)) return found;
  for (const SlotId part : parts_[slot]) {
    if (const auto found = contents_[part].find(layout_, run)) return found;
  }
  return std::nullopt;
}

}  // namespace gyre
