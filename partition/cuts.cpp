#include "partition/cuts.hpp"

#include <algorithm>

namespace gyre {

std::vector<std::int64_t> cuts_of_documents(std::span<const std::int64_t> borders, const Bands& bands, std::int64_t unit_tokens) {
  std::vector<std::int64_t> cuts;
  if (borders.empty()) return cuts;
  const Range inside{borders.front(), borders.back()};
  const std::int64_t shortest = std::min(unit_tokens, kShortestPiece);
  // One query first: it meets few bands, where a unit's length of them meets hundreds of short documents.
  const auto see_all = [&](Range queries, Range keys) {
    return bands.cover({queries.begin, queries.begin + 1}, keys) == Cover::full && bands.cover(queries, keys) == Cover::full;
  };
  std::int64_t latest = inside.begin;
  for (const std::int64_t border : borders) {
    if (border - latest < shortest || border == inside.end) continue;
    const Range before = inside & Range{border - unit_tokens, border}, after = inside & Range{border, border + unit_tokens};
    if (see_all(after, before) || see_all(before, after)) continue;
    cuts.push_back(latest = border);
  }
  return cuts;
}

std::vector<std::int64_t> cuts_of_chunks(Range positions, std::int64_t length) {
  std::vector<std::int64_t> cuts;
  for (std::int64_t cut = (floor_divide(positions.begin, length) + 1) * length; cut < positions.end; cut += length)
    cuts.push_back(cut);
  return cuts;
}

}  // namespace gyre
