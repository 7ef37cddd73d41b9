// Stretches of time as boxes that can be seen: what is too narrow is drawn together with its neighbours.
#pragma once

#include <span>
#include <vector>

#include "launch/drawn_program.hpp"

namespace gyre {

/// Pixels from the left.
struct Box {
  double left = 0, right = 0;
  const DrawnStretch* of = nullptr;  // of several, the longest
  double width() const { return right - left; }
};

/// Stretches that do not overlap, in order. Boxes are narrower than `narrowest` pixels only where there is nothing beside them that
/// they could be drawn with; together they cover what the stretches do, and less than `narrowest` between two of them. The
/// stretches must outlive the boxes.
std::vector<Box> legible(std::span<const DrawnStretch* const> stretches, double pixels_per_second, double narrowest);

/// Neighbours taken together where there are more owners than that; each group has the owner that has most of it.
std::vector<OwnerShare> at_most(std::span<const OwnerShare> owners, std::size_t count);

}  // namespace gyre
