#include "kernels/lanes.hpp"

#include <algorithm>

namespace gyre {
namespace {

/// Of these strips of keys, from the first to the last that some row sees; there is a word for each key of whole strips.
Range strips_seen(std::span<const std::uint64_t> visible, Range strips) {
  const auto seen = [&](std::int64_t strip) {
    std::uint64_t rows = 0;
    for (int key = 0; key < kStrip; ++key) rows |= visible[static_cast<std::size_t>(strip * kStrip + key)];
    return rows != 0;
  };
  while (!strips.empty() && !seen(strips.begin)) ++strips.begin;
  while (!strips.empty() && !seen(strips.end - 1)) --strips.end;
  return strips.empty() ? Range{0, 0} : strips;
}

}  // namespace

void Lanes::append(const CellShape& shape, int key_head, Range cell, std::int64_t strip) {
  const auto include = [](Range& hull_of, std::int64_t at) {
    hull_of = {std::min(hull_of.begin, at), std::max(hull_of.end, at + 1)};
  };
  const std::int64_t rows = cell.size() * shape.group;
  for (int lane = 0; lane < kStrip; ++lane, ++count) {
    const std::int64_t row = strip * kStrip + lane;
    positions[count] = kNoPosition, heads[count] = key_head * shape.group;
    if (row >= rows) continue;
    const auto [token, member] = query_row(shape, cell.size(), row);
    positions[count] = cell.begin + token, heads[count] += member;
    include(hull, positions[count]), include(head_hull, heads[count]);
  }
}

std::uint64_t Lanes::within(Range range, Range some_heads) const {
  if (range.contains(hull) && some_heads.contains(head_hull)) return ~std::uint64_t{0} >> (kMostLanes - count);
  std::uint64_t bits = 0;
  for (int lane = 0; lane < count; ++lane) {
    bits |= std::uint64_t{range.contains(positions[lane]) && some_heads.contains(heads[lane])} << lane;
  }
  return bits;
}

Sight take_out(const Sight& sight, int lanes, std::uint64_t rows, std::int64_t keys, std::span<const std::int16_t> places,
               std::span<std::uint64_t> scratch, std::span<std::uint64_t> taken) {
  const auto all = static_cast<std::size_t>(round_up(keys, kStrip));
  if (sight.visible == nullptr) std::fill_n(scratch.begin(), all, ~std::uint64_t{0} >> (kMostLanes - lanes));
  for (std::size_t at = 0; at < places.size(); ++at) {
    std::uint64_t& seen = scratch[static_cast<std::size_t>(places[at])];
    if (!taken.empty()) taken[at] = seen & rows;
    seen &= ~rows;
  }
  return {.cover = Cover::partial,
          .visible = scratch.data(),
          .strips = strips_seen(scratch.first(all), {0, static_cast<std::int64_t>(all) / kStrip})};
}

Sight sight_of(const Bands& bands, const Lanes& lanes, Range keys, ResidueOrder order, std::span<std::uint64_t> scratch) {
  Sight sight;
  sight.cover = bands.cover(lanes.hull, keys, lanes.head_hull);
  if (sight.cover == Cover::empty) return sight;
  const auto count = static_cast<std::size_t>(keys.size());
  const auto rounded = static_cast<std::size_t>(round_up(keys.size(), kStrip));
  sight.strips = {0, static_cast<std::int64_t>(rounded) / kStrip};
  if (sight.cover == Cover::full && count == rounded) return sight;
  if (sight.cover == Cover::partial) {
    const auto some = static_cast<std::size_t>(lanes.count);
    const Range places =
        bands.mark(std::span(lanes.positions).first(some), std::span(lanes.heads).first(some), keys, order, scratch.first(count));
    sight.strips = {places.begin / kStrip, (places.end + kStrip - 1) / kStrip};
  } else {
    std::fill_n(scratch.begin(), count, ~std::uint64_t{0} >> (kMostLanes - lanes.count));
  }
  std::fill_n(scratch.begin() + count, rounded - count, std::uint64_t{0});
  sight.visible = scratch.data();
  sight.strips = strips_seen(scratch.first(rounded), sight.strips);
  return sight;
}

}  // namespace gyre
