#include "launch/legible.hpp"

#include <algorithm>

namespace gyre {

std::vector<Box> legible(std::span<const DrawnStretch* const> stretches, double pixels_per_second, double narrowest) {
  std::vector<Box> boxes;
  Box pending;  // of narrow ones
  double longest = 0;
  const auto flush = [&] {
    if (pending.of != nullptr && pending.width() > 0) boxes.push_back(pending);
    pending.of = nullptr;
  };
  for (const DrawnStretch* stretch : stretches) {
    const Box box{pixels_per_second * stretch->begin_seconds, pixels_per_second * stretch->end_seconds, stretch};
    const bool narrow = box.width() < narrowest;
    if (!narrow || box.left - pending.right > narrowest) flush();
    if (!narrow) {
      boxes.push_back(box);
      continue;
    }
    if (pending.of == nullptr) pending = box, longest = box.width();
    if (box.width() > longest) pending.of = stretch, longest = box.width();
    pending.right = box.right;
    if (pending.width() >= narrowest) flush();
  }
  flush();
  return boxes;
}

std::vector<OwnerShare> at_most(std::span<const OwnerShare> owners, std::size_t count) {
  if (owners.size() <= count) return {owners.begin(), owners.end()};
  std::vector<OwnerShare> groups;
  for (std::size_t group = 0; group < count; ++group) {
    const auto members =
        owners.subspan(group * owners.size() / count, (group + 1) * owners.size() / count - group * owners.size() / count);
    OwnerShare whole = *std::max_element(members.begin(), members.end(),
                                         [](const OwnerShare& a, const OwnerShare& b) { return a.share < b.share; });
    whole.share = 0;
    for (const OwnerShare& member : members) whole.share += member.share;
    groups.push_back(whole);
  }
  return groups;
}

}  // namespace gyre
