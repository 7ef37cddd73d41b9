#include "runtime/scoreboard.hpp"

#include <algorithm>
#include <optional>

namespace gyre {

bool overlap(const Program& program, SlotId a, SlotId b) {
  if (a == b) return true;
  const Slot& x = program.slots[a];
  const Slot& y = program.slots[b];
  if (x.space != Space::arena || y.space != Space::arena) return false;
  return x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
}

namespace {

/// Who touched a slot since it was last written.
struct Use {
  std::optional<std::uint32_t> writer;
  std::vector<std::uint32_t> readers;
};

std::vector<std::vector<SlotId>> overlaps(const Program& program) {
  std::vector<std::vector<SlotId>> lists(program.slots.size());
  for (std::size_t a = 0; a < lists.size(); ++a) {
    for (std::size_t b = 0; b < lists.size(); ++b) {
      if (overlap(program, static_cast<SlotId>(a), static_cast<SlotId>(b))) lists[a].push_back(static_cast<SlotId>(b));
    }
  }
  return lists;
}

}  // namespace

Scoreboard::Scoreboard(const Program& program) {
  const auto overlapping = overlaps(program);
  std::vector<Use> uses(program.slots.size());
  std::vector<std::uint32_t> found;
  first_.push_back(0);
  for (std::uint32_t index = 0; index < program.instructions.size(); ++index) {
    const Instruction& instruction = program.instructions[index];
    found.clear();
    const auto wait_for_writers = [&](SlotId slot) {
      for (const SlotId other : overlapping[slot]) {
        if (uses[other].writer) found.push_back(*uses[other].writer);
      }
    };
    for (const SlotId slot : instruction.in) {
      if (slot != kNoSlot) wait_for_writers(slot);
    }
    if (instruction.out != kNoSlot) {
      wait_for_writers(instruction.out);
      for (const SlotId other : overlapping[instruction.out]) {
        found.insert(found.end(), uses[other].readers.begin(), uses[other].readers.end());
      }
    }
    for (const SlotId slot : instruction.in) {
      if (slot != kNoSlot) uses[slot].readers.push_back(index);
    }
    if (instruction.out != kNoSlot) uses[instruction.out] = {.writer = index, .readers = {}};
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    sources_.insert(sources_.end(), found.begin(), found.end());
    first_.push_back(static_cast<std::uint32_t>(sources_.size()));
  }
}

}  // namespace gyre
