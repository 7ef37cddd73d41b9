#include "runtime/scoreboard.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

namespace gyre {

namespace {

/// Who touched a slot since it was last written.
struct Use {
  std::optional<std::uint32_t> writer;
  std::vector<std::uint32_t> readers;
};

/// One sweep over the slots of a space by their first byte.
std::vector<std::vector<SlotId>> overlaps(const Program& program) {
  const std::vector<Slot>& slots = program.slots;
  std::vector<std::vector<SlotId>> lists(slots.size());
  std::vector<SlotId> order;  // of the arena, then of the window
  const auto join = [&](SlotId a, SlotId b) {
    lists[a].push_back(b);
    lists[b].push_back(a);
  };
  for (SlotId slot = 0; slot < slots.size(); ++slot) {
    lists[slot].push_back(slot);
    if (slots[slot].part_of < slots.size() && slots[slot].part_of != slot) join(slot, slots[slot].part_of);
    if (slots[slot].space != Space::user && slots[slot].bytes > 0) order.push_back(slot);
  }
  const auto begin = [&](SlotId slot) { return std::tuple(slots[slot].space, slots[slot].offset); };
  std::sort(order.begin(), order.end(), [&](SlotId a, SlotId b) { return begin(a) < begin(b); });
  std::vector<SlotId> open;
  for (const SlotId slot : order) {
    std::erase_if(open, [&](SlotId other) {
      return slots[other].space != slots[slot].space || slots[other].offset + slots[other].bytes <= slots[slot].offset;
    });
    for (const SlotId other : open) join(slot, other);
    open.push_back(slot);
  }
  for (auto& list : lists) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return lists;
}

}  // namespace

Scoreboard::Scoreboard(const Program& program) : overlapping_(overlaps(program)) {
  std::vector<Use> uses(program.slots.size());
  std::vector<std::uint32_t> found;
  first_.push_back(0);
  for (std::uint32_t index = 0; index < program.instructions.size(); ++index) {
    const Instruction& instruction = program.instructions[index];
    found.clear();
    const auto wait_for_writers = [&](SlotId slot) {
      for (const SlotId other : overlapping_[slot]) {
        if (uses[other].writer) found.push_back(*uses[other].writer);
      }
    };
    for (const SlotId slot : instruction.in) {
      if (slot != kNoSlot) wait_for_writers(slot);
    }
    for (const SlotId slot : instruction.outs()) {
      if (slot == kNoSlot) continue;
      wait_for_writers(slot);
      for (const SlotId other : overlapping_[slot]) {
        found.insert(found.end(), uses[other].readers.begin(), uses[other].readers.end());
      }
    }
    for (const SlotId slot : instruction.in) {
      if (slot != kNoSlot) uses[slot].readers.push_back(index);
    }
    for (const SlotId slot : instruction.outs()) {
      if (slot != kNoSlot) uses[slot] = {.writer = index, .readers = {}};
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    sources_.insert(sources_.end(), found.begin(), found.end());
    first_.push_back(static_cast<std::uint32_t>(sources_.size()));
  }
}

}  // namespace gyre
