#include "partition/band_count.hpp"

#include <algorithm>
#include <bit>

#include "partition/band_algebra.hpp"

namespace gyre {
namespace {

// |A_0 or A_1 or ...| = sum over k of |A_k| - |(A_k & A_0) or ... or (A_k & A_(k-1))|. Bands are closed under `&`, each is counted
// in closed form, and dropping bands inside another keeps the recursion shallow. No band is inside another here.
std::int64_t count_union(const std::vector<Band>& bands) {
  std::int64_t pairs = 0;
  for (std::size_t k = 0; k < bands.size(); ++k) {
    pairs += count_pairs(bands[k]);
    std::vector<Band> counted;
    for (std::size_t earlier = 0; earlier < k; ++earlier) {
      const Band both = bands[k] & bands[earlier];
      if (!both.empty()) counted.push_back(both);
    }
    if (!counted.empty()) pairs -= count_union(without_contained(std::move(counted)));
  }
  return pairs;
}

std::vector<Band> parts_of(const std::vector<Band>& bands, Range queries, Range keys) {
  std::vector<Band> parts;
  for (const Band& band : bands) {
    const Band part = clipped(band, queries, keys);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

constexpr Range kAnyKey{-kUnbounded, kUnbounded};

/// A band in one row of blocks: where it reaches, and where every query sees every key (but for the table).
struct Part {
  Band band;
  std::int64_t row = 0;  // of its table
  Range reached, filled;
};

Part part_of(const Band& band, Range queries, std::int64_t first_query) {
  Part part{.band = band, .row = 0, .reached = reach(band), .filled = {}};
  if (band.blocks != nullptr) part.row = floor_divide(queries.begin - first_query, band.blocks->shape().block_tokens);
  if (band.modulus == 1 && band.queries == queries) part.filled = band.keys_of(queries.begin) & band.keys_of(queries.end - 1);
  return part;
}

bool shows(const Part& part, int head, std::int64_t key) {
  return part.band.blocks == nullptr ||
         part.band.blocks->visible(head, part.row, floor_divide(key, part.band.blocks->shape().block_tokens));
}

/// Keys of an interval that one row of a table shows.
std::int64_t count_keys(const Part& part, int head, Range keys) {
  const BlockTable& table = *part.band.blocks;
  const std::int64_t block = table.shape().block_tokens;
  const Range columns{floor_divide(keys.begin, block), floor_divide(keys.end - 1, block) + 1};
  std::int64_t count = table.count(head, part.row, columns) * block;
  if (table.visible(head, part.row, columns.begin)) count -= keys.begin - columns.begin * block;
  if (table.visible(head, part.row, columns.end - 1)) count -= columns.end * block - keys.end;
  return count;
}

/// Pairs of one head in an interval of keys on which each part either sees everything or is cut by its band: cut further into runs
/// on which no table changes.
std::int64_t count_runs(const std::vector<Part>& parts, Range queries, int head, Range keys) {
  std::int64_t pairs = 0;
  for (std::int64_t begin = keys.begin, end = 0; begin < keys.end; begin = end) {
    end = keys.end;
    std::vector<Band> active;
    for (const Part& part : parts) {
      if (part.band.blocks != nullptr) {
        const std::int64_t block = part.band.blocks->shape().block_tokens;
        end = std::min(end, (floor_divide(begin, block) + 1) * block);
      }
      if (shows(part, head, begin)) active.push_back(part.band);
    }
    if (!active.empty()) pairs += count_strips(parts_of(active, queries, {begin, end}), queries);
  }
  return pairs;
}

std::int64_t count_interval(const std::vector<Part>& all, Range queries, Range keys, int heads) {
  std::vector<Part> parts;
  bool tables = false, cut = false;
  for (const Part& part : all) {
    if (!part.reached.contains(keys)) continue;
    const bool filled = part.filled.contains(keys);
    if (filled && part.band.blocks == nullptr) return queries.size() * keys.size() * heads;
    parts.push_back(part);
    tables = tables || part.band.blocks != nullptr;
    cut = cut || !filled;
  }
  if (parts.empty()) return 0;
  if (!tables) return count_runs(parts, queries, 0, keys) * heads;
  std::int64_t pairs = 0;
  for (int head = 0; head < heads; ++head) {
    pairs += parts.size() == 1 && !cut ? count_keys(parts[0], head, keys) * queries.size() : count_runs(parts, queries, head, keys);
  }
  return pairs;
}

}  // namespace

// n bands cost at most 2^n closed forms, mostly far fewer. Where that may be more than there are rows, the rows are split in two:
// most sets of many bands (documents) fall apart, and in a single row the overlaps of intervals are nested, which leaves n^2.
std::int64_t count_strips(std::vector<Band> bands, Range queries) {
  constexpr int kFewBands = 16;
  if (bands.size() <= 1) return bands.empty() ? 0 : count_pairs(bands.front());
  for (Band& band : bands) band.blocks = nullptr;
  bands = without_contained(std::move(bands));
  const std::int64_t rows = queries.size();
  const int few = std::max(kFewBands, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(rows))));
  if (rows == 1 || bands.size() <= static_cast<std::size_t>(few)) return count_union(bands);
  const std::int64_t middle = queries.begin + rows / 2;
  const Range first{queries.begin, middle}, second{middle, queries.end};
  return count_strips(parts_of(bands, first, kAnyKey), first) + count_strips(parts_of(bands, second, kAnyKey), second);
}

// Between two borders where a band begins or ends to reach, or to see everything, nothing changes but the tables.
std::int64_t count_row_of_blocks(const std::vector<Band>& bands, Range queries, std::int64_t first_query, int heads) {
  if (std::none_of(bands.begin(), bands.end(), [](const Band& band) { return band.blocks != nullptr; })) {
    return count_strips(bands, queries) * heads;
  }
  std::vector<Part> parts;
  std::vector<std::int64_t> borders;
  for (const Band& band : bands) {
    Part part = part_of(band, queries, first_query);
    if (band.blocks != nullptr) {
      const Range inside{0, band.blocks->shape().columns * band.blocks->shape().block_tokens};
      part.band.keys = part.band.keys & inside, part.reached = part.reached & inside, part.filled = part.filled & inside;
    }
    if (part.reached.empty()) continue;
    borders.insert(borders.end(), {part.reached.begin, part.reached.end});
    if (!part.filled.empty()) borders.insert(borders.end(), {part.filled.begin, part.filled.end});
    parts.push_back(part);
  }
  std::sort(borders.begin(), borders.end());
  std::int64_t pairs = 0;
  for (std::size_t k = 1; k < borders.size(); ++k) {
    if (borders[k - 1] < borders[k]) pairs += count_interval(parts, queries, {borders[k - 1], borders[k]}, heads);
  }
  return pairs;
}

}  // namespace gyre
