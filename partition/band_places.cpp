#include "partition/band_places.hpp"

#include <algorithm>
#include <array>

namespace gyre {
namespace {

/// A class of a unit's tokens.
struct SeenClass {
  Range places;
  std::int64_t residue;
  std::int64_t stride;

  /// The places of those in a range of tokens: mostly of all, without a division.
  Range of(Range tokens, std::int64_t all) const {
    if (tokens.begin <= 0 && tokens.end >= all) return places;
    const auto before = [&](std::int64_t token) { return token <= residue ? 0 : (token - residue + stride - 1) / stride; };
    return {places.begin + before(tokens.begin), std::min(places.begin + before(tokens.end), places.end)};
  }
};

/// Lanes [first, end) of one class, as mark_intervals has it: bits toggle where a lane's interval begins and where it ends.
void mark_lanes(const Band& band, const LaneSet& lanes, std::size_t first, std::size_t end, Range unit, const SeenClass& seen,
                std::uint64_t* out) {
  for (std::int64_t begin = seen.places.begin; begin < seen.places.end; begin += kMarkedKeys) {
    const Range piece{begin, std::min(begin + kMarkedKeys, seen.places.end)};
    std::array<std::uint64_t, kMarkedKeys + 1> marks;
    std::fill_n(marks.begin(), piece.size() + 1, std::uint64_t{0});
    for (std::size_t lane = first; lane < end; ++lane) {
      if (!band.queries.contains(lanes.positions[lane])) continue;
      const Range interval = seen.of(band.keys_of(lanes.positions[lane]) + -unit.begin, unit.size()) & piece;
      if (interval.empty()) continue;
      marks[interval.begin - piece.begin] ^= std::uint64_t{1} << lane;
      marks[interval.end - piece.begin] ^= std::uint64_t{1} << lane;
    }
    std::uint64_t running = 0;
    for (std::int64_t place = 0; place < piece.size(); ++place) out[piece.begin + place] |= running ^= marks[place];
  }
}

}  // namespace

Range mark_classes(const Band& band, const LaneSet& lanes, Range unit, ResidueOrder order, std::uint64_t* out) {
  const std::size_t count = lanes.positions.size();
  Range hull{unit.size(), 0};
  for (std::size_t first = 0, end = 0; first < count; first = end) {
    end = first + 1;
    const std::int64_t position = lanes.positions[first], token = position + band.residue - unit.begin;
    if (position == kNoPosition) continue;
    // In residue order a lane stands a stride behind the one before; two heads of a token stand together.
    const auto follows = [&](std::size_t lane) {
      const std::int64_t step = lanes.positions[lane] - lanes.positions[lane - 1];
      return step == 0 || step == order.stride;
    };
    while (end < count && follows(end)) ++end;
    const std::int64_t residue = token - floor_divide(token, order.stride) * order.stride;
    const Range places = order.places_of(unit.size(), residue);
    mark_lanes(band, lanes, first, end, unit, {.places = places, .residue = residue, .stride = order.stride}, out);
    hull = {std::min(hull.begin, places.begin), std::max(hull.end, places.end)};
  }
  return hull;
}

void add_at_places(std::span<const std::uint64_t> marks, std::int64_t first_token, std::int64_t tokens, ResidueOrder order,
                   std::uint64_t* out) {
  const std::int64_t whole = tokens / order.stride, longer = tokens % order.stride;
  std::int64_t residue = first_token % order.stride, index = first_token / order.stride;
  std::int64_t place = order.place_of(tokens, first_token);
  for (const std::uint64_t mark : marks) {
    out[place] |= mark;
    place += whole + (residue < longer ? 1 : 0);
    if (++residue == order.stride) residue = 0, place = ++index;
  }
}

}  // namespace gyre
