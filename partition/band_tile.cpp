#include "partition/band_tile.hpp"

#include <algorithm>
#include <array>

namespace gyre {
namespace {

/// The band within one bin.
Band in_bin(Band band, std::int64_t bin) {
  const std::int64_t width = band.diagonals->shape().key_tokens;
  band.lower = std::max(band.lower, -(bin + 1) * width + 1), band.upper = std::min(band.upper, -bin * width);
  return band;
}

/// Whether a pair of the band, in its own rectangle, lies on a diagonal that is shown to one of the heads.
bool any_on_diagonals(const Band& part, Range heads) {
  const Diagonals seen = diagonals_of(part);
  if (part.diagonals == nullptr || seen.empty()) return !seen.empty();
  const Range bins = bins_of(*part.diagonals, seen);
  std::int64_t bin = part.diagonals->first_visible(heads, 0, bins);
  // A bin may lie between two diagonals of a modulus.
  while (part.modulus > 1 && bin < bins.end && in_bin(part, bin).empty()) {
    bin = part.diagonals->first_visible(heads, 0, {bin + 1, bins.end});
  }
  return bin < bins.end;
}

/// Whether one of the heads sees a pair of the band, which lies in one row of its table of blocks.
bool any_in_row(const Band& part, const TableAt& table, std::int64_t row, Range columns, Range heads) {
  const auto any_for = [&](Range some) {
    std::int64_t column = table.table.first_visible(some, row, columns);
    // Every key of a reach is seen, but for a modulus or a table of diagonals.
    while ((part.modulus > 1 || part.diagonals != nullptr) && column < columns.end &&
           !any_on_diagonals(clipped(part, part.queries, table.keys_of({column, column + 1})), some)) {
      column = table.table.first_visible(some, row, {column + 1, columns.end});
    }
    return column < columns.end;
  };
  if (part.diagonals == nullptr) return any_for(heads);
  for (std::int64_t head = heads.begin; head < heads.end; ++head) {  // both tables are to show it to the same one
    if (any_for({head, head + 1})) return true;
  }
  return false;
}

/// Cover of a tile that the part of a band within it covers as told: `full`, or `partial` but not empty.
Cover cover_of_tables(const Band& part, Cover strip, std::int64_t first_query, Range heads) {
  bool full = strip == Cover::full, any = false;
  if (part.diagonals != nullptr) {
    full = full && part.diagonals->all(heads, 0, bins_of(*part.diagonals, diagonals_of(part)));
  }
  if (part.blocks == nullptr) {
    any = any_on_diagonals(part, heads);
  } else {
    const TableAt table{*part.blocks, first_query};
    const Range rows = table.rows_of(part.queries), inside = rows & Range{0, table.table.shape().rows};
    full = full && inside == rows;
    for (std::int64_t row = inside.begin; row < inside.end && (full || !any); ++row) {
      const Band in_row = clipped(part, table.queries_of(row), part.keys);
      const Range reached = reach(in_row);
      if (reached.empty()) continue;
      const Range columns = table.columns_of(reached);
      full = full && table.table.all(heads, row, columns);
      any = any || any_in_row(in_row, table, row, columns, heads);
    }
  }
  return !any ? Cover::empty : full ? Cover::full : Cover::partial;
}

/// Of a 64 x 64 matrix of bits: by swapping ever smaller squares off the diagonal.
void transpose(std::array<std::uint64_t, 64>& rows) {
  std::uint64_t low = 0xffffffff;
  for (std::size_t half = 32; half != 0; half /= 2, low ^= low << half) {
    for (std::size_t row = 0; row < 64; row = ((row | half) + 1) & ~half) {
      const std::uint64_t moved = (rows[row] >> half ^ rows[row | half]) & low;
      rows[row] ^= moved << half;
      rows[row | half] ^= moved;
    }
  }
}

/// For 64 columns from the given one on: the lanes that the table shows them to.
std::array<std::uint64_t, 64> lanes_by_column(const TableAt& table, const LaneSet& lanes, std::int64_t column) {
  std::array<std::uint64_t, 64> words{};
  for (std::size_t lane = 0; lane < lanes.positions.size(); ++lane) {
    if (lanes.positions[lane] != kNoPosition)
      words[lane] = table.table.word(lanes.head_of(lane), table.row_of(lanes.positions[lane]), column);
  }
  transpose(words);
  return words;
}

/// Modulus 1: toggle a lane's bit where its intervals begin and where they end; the running XOR over keys is then the set of lanes
/// that see the key. The marks of up to kMarkedKeys keys, from piece.begin on.
std::array<std::uint64_t, kMarkedKeys + 1> marks_of(const Band& band, const LaneSet& lanes, Range piece) {
  std::array<std::uint64_t, kMarkedKeys + 1> marks{};
  for (std::size_t lane = 0; lane < lanes.positions.size(); ++lane) {
    const std::int64_t query = lanes.positions[lane];
    const auto toggle = [&](Range interval) {
      marks[interval.begin - piece.begin] ^= std::uint64_t{1} << lane;
      marks[interval.end - piece.begin] ^= std::uint64_t{1} << lane;
    };
    const Range interval = band.keys_of(query) & piece;
    if (interval.empty()) continue;
    if (band.diagonals == nullptr) {
      toggle(interval);
    } else {
      each_run(*band.diagonals, lanes.head_of(lane), query, interval, toggle);
    }
  }
  for (std::int64_t key = 1; key < piece.size(); ++key) marks[key] ^= marks[key - 1];
  return marks;
}

void mark_intervals(const Band& band, const LaneSet& lanes, Range seen, std::uint64_t* out) {
  for (std::int64_t begin = seen.begin; begin < seen.end; begin += kMarkedKeys) {
    const Range piece{begin, std::min(begin + kMarkedKeys, seen.end)};
    const auto marks = marks_of(band, lanes, piece);
    for (std::int64_t key = 0; key < piece.size(); ++key) out[begin - seen.begin + key] |= marks[key];
  }
}

/// The same, and shown by the table: 64 of its columns at a time.
void mark_intervals(const Band& band, const TableAt& table, const LaneSet& lanes, Range seen, std::uint64_t* out) {
  for (std::int64_t begin = seen.begin, end = 0; begin < seen.end; begin = end) {
    const std::int64_t first_column = table.column_of(begin);
    end = std::min(seen.end, table.keys_of({first_column, first_column + 64}).end);
    const auto shown = lanes_by_column(table, lanes, first_column);
    for (std::int64_t from = begin; from < end; from += kMarkedKeys) {
      const Range piece{from, std::min(from + kMarkedKeys, end)};
      const auto marks = marks_of(band, lanes, piece);
      const Range columns = table.columns_of(piece);
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        const Range shared = table.keys_of({column, column + 1}) & piece;
        for (std::int64_t key = shared.begin; key < shared.end; ++key) {
          out[key - seen.begin] |= marks[key - from] & shown[column - first_column];
        }
      }
    }
  }
}

/// Consecutive lanes, of which those of `queries` see the keys of `seen` on the diagonals i - j of [least, end): a ramp where the
/// first of them come to see a key, keys that all see, and a ramp down.
void mark_strip(const LaneSet& lanes, Range queries, Range seen, Range behind, std::uint64_t* out) {
  const std::int64_t first = queries.begin - lanes.queries.begin, count = queries.size();
  const auto bits = [](std::int64_t lanes_below) {
    return lanes_below >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lanes_below) - 1;
  };
  const auto mark = [&](Range keys) {
    for (std::int64_t key = keys.begin; key < keys.end; ++key) {
      const std::int64_t nearest = queries.begin - key;
      const std::int64_t from = std::clamp<std::int64_t>(behind.begin - nearest, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(behind.end - nearest, 0, count);
      out[key - seen.begin] |= (bits(to) & ~bits(from)) << first;
    }
  };
  const Range some = Range{queries.begin - behind.end + 1, queries.end - behind.begin} & seen;
  const Range every = Range{queries.end - behind.end, queries.begin - behind.begin + 1} & some;
  if (every.empty()) return mark(some);
  mark({some.begin, every.begin});
  for (std::int64_t key = every.begin; key < every.end; ++key) out[key - seen.begin] |= bits(count) << first;
  mark({every.end, some.end});
}

/// Consecutive lanes, modulus 1, without a table of blocks; the band is clipped to `seen`.
void mark_consecutive(const Band& band, const LaneSet& lanes, Range seen, std::uint64_t* out) {
  const Range queries = band.queries & lanes.queries, behind{-band.upper, -band.lower + 1};
  if (queries.empty() || seen.empty()) return;
  if (band.diagonals == nullptr) return mark_strip(lanes, queries, seen, behind, out);
  // Runs of diagonals are those of keys that a query behind all of them would see.
  const Range reached = Range{queries.begin - (seen.end - 1), queries.end - seen.begin} & behind;
  if (reached.empty()) return;
  each_run(*band.diagonals, lanes.head_of(0), 0, Range{-reached.end + 1, -reached.begin + 1}, [&](Range run) {
    mark_strip(lanes, queries, seen, {-run.end + 1, -run.begin + 1}, out);
  });
}

void mark_consecutive(const Band& band, const TableAt& table, const LaneSet& lanes, Range seen, std::uint64_t* out) {
  const Range queries = band.queries & lanes.queries;
  if (queries.empty()) return;
  const Range rows = table.rows_of(queries) & Range{0, table.table.shape().rows};
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Band in_row = clipped(band, table.queries_of(row), seen);
    each_run(table, lanes.head_of(0), row, seen,
             [&](Range run) { mark_consecutive(in_row, lanes, run, out + (run.begin - seen.begin)); });
  }
}

/// A lane's first key is the later one of two: that on the lowest diagonal, which is in the class, and its first in `seen`, of
/// which the distance to seen.begin goes up with the lane's position, modulo the modulus: neighbouring lanes need no division.
void mark_strided(const Band& band, const LaneSet& lanes, std::int64_t first_query, Range seen, std::uint64_t* out) {
  const auto reduced = [&](std::int64_t value) {
    return 0 <= value && value < band.modulus ? value : value - floor_divide(value, band.modulus) * band.modulus;
  };
  const bool tables = band.blocks != nullptr || band.diagonals != nullptr;
  std::int64_t position = seen.begin - band.residue, distance = 0;
  for (std::size_t lane = 0; lane < lanes.positions.size(); ++lane) {
    if (!band.queries.contains(lanes.positions[lane])) continue;
    distance = reduced(distance + lanes.positions[lane] - position);
    position = lanes.positions[lane];
    const std::int64_t end = std::min(seen.end, position + band.upper + 1);
    for (std::int64_t key = std::max(seen.begin + distance, position + band.lower); key < end; key += band.modulus) {
      const bool shown = !tables || shown_by_tables(band, first_query, lanes.head_of(lane), position, key);
      if (shown) out[key - seen.begin] |= std::uint64_t{1} << lane;
    }
  }
}

}  // namespace

bool shown_by_tables(const Band& band, std::int64_t first_query, int head, std::int64_t query, std::int64_t key) {
  if (band.blocks != nullptr && !TableAt{*band.blocks, first_query}.visible(head, query, key)) return false;
  return band.diagonals == nullptr ||
         band.diagonals->visible(head, 0, floor_divide(query - key, band.diagonals->shape().key_tokens));
}

Cover cover_of(const Band& band, Range queries, Range keys, Range heads, std::int64_t first_query) {
  const Diagonals corners{keys.begin - (queries.end - 1), keys.end - 1 - queries.begin};
  const Band part = clipped(band, queries, keys);
  const Diagonals seen = diagonals_of(part);
  if (seen.empty()) return Cover::empty;
  const bool every_diagonal =
      seen.first == corners.first && seen.last == corners.last && (band.modulus == 1 || seen.first == seen.last);
  const Cover cover = every_diagonal && part.queries == queries && part.keys == keys ? Cover::full : Cover::partial;
  if (band.blocks == nullptr && band.diagonals == nullptr) return cover;
  return cover_of_tables(part, cover, first_query, heads);
}

LaneSet::LaneSet(std::span<const std::int64_t> at, std::span<const std::int32_t> of)
    : positions(at), heads(of), queries{kNoPosition, -kNoPosition} {
  std::int64_t there = 0;
  for (; there < std::ssize(at) && at[there] == at[0] + there && (of.empty() || of[there] == of[0]); ++there) continue;
  consecutive = !at.empty() && at[0] != kNoPosition;
  for (std::int64_t lane = 0; lane < std::ssize(at); ++lane) {
    if (at[lane] == kNoPosition) continue;
    consecutive = consecutive && lane < there;
    queries = {std::min(queries.begin, at[lane]), std::max(queries.end, at[lane] + 1)};
  }
}

void mark_band(const Band& band, const LaneSet& lanes, std::int64_t first_query, Range keys, std::span<std::uint64_t> out) {
  const Range seen = reach(clipped(band, lanes.queries, keys));
  if (seen.empty()) return;
  std::uint64_t* const from = out.data() + (seen.begin - keys.begin);
  if (band.modulus > 1) return mark_strided(band, lanes, first_query, seen, from);
  if (band.blocks == nullptr) {
    return lanes.consecutive ? mark_consecutive(band, lanes, seen, from) : mark_intervals(band, lanes, seen, from);
  }
  const TableAt table{*band.blocks, first_query};
  return lanes.consecutive ? mark_consecutive(band, table, lanes, seen, from) : mark_intervals(band, table, lanes, seen, from);
}

}  // namespace gyre
