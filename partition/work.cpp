#include "partition/work.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace gyre {
namespace {

void require_units(const Placement& placement, std::size_t units) {
  if (static_cast<std::size_t>(placement.units()) == units) return;
  throw std::invalid_argument("a placement of " + std::to_string(placement.units()) + " units is used for " +
                              std::to_string(units) + " query units: it must place these units");
}

// Visits the key units of the intervals that the queries touch, ascending. A unit at a border of two intervals comes once.
template <class Visit>
void each_unit_touched(const Bands& bands, Range queries, const Units& keys, std::vector<Range>& touched, Visit&& visit) {
  bands.keys_touched(queries, {0, keys.tokens()}, touched);
  std::int64_t next = 0;
  for (const Range interval : touched) {
    const Range units = keys.units_touching(interval);
    for (std::int64_t unit = std::max(next, units.begin); unit < units.end; ++unit) visit(static_cast<int>(unit));
    next = units.end;
  }
}

}  // namespace

std::vector<std::int64_t> count_work(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset) {
  std::vector<std::int64_t> work(queries.count());
  for (int unit = 0; unit < queries.count(); ++unit) {
    work[unit] = bands.count(queries.range(unit) + query_offset, {0, keys.tokens()});
  }
  return work;
}

std::vector<std::int64_t> work_by_rank(const Placement& queries, const std::vector<std::int64_t>& unit_work) {
  require_units(queries, unit_work.size());
  if (!queries.by_unit()) throw std::invalid_argument("the work of units is asked of a placement by heads: place units whole");
  std::vector<std::int64_t> work(queries.ranks());
  for (int unit = 0; unit < queries.units(); ++unit) {
    const int owner = queries.owner(unit);
    if (owner == Placement::kEveryRank) {
      for (std::int64_t& of_rank : work) of_rank += unit_work[unit];
    } else {
      work[owner] += unit_work[unit];
    }
  }
  return work;
}

double imbalance(const std::vector<std::int64_t>& rank_work) {
  const std::int64_t sum = std::accumulate(rank_work.begin(), rank_work.end(), std::int64_t{0});
  if (sum == 0) return 1;
  const std::int64_t most = *std::max_element(rank_work.begin(), rank_work.end());
  return static_cast<double>(most) * static_cast<double>(rank_work.size()) / static_cast<double>(sum);
}

namespace {

/// The key units that a rank is not yet known to need, so that each is found once and not for every query unit that sees it:
/// next_[u] leads to the first unknown unit from u on (union-find with path halving).
class Unknown {
 public:
  explicit Unknown(int units) : next_(static_cast<std::size_t>(units) + 1) { std::iota(next_.begin(), next_.end(), 0); }
  int from(int unit) {
    while (next_[unit] != unit) unit = next_[unit] = next_[next_[unit]];
    return unit;
  }
  void remove(int unit) { next_[unit] = unit + 1; }

 private:
  std::vector<int> next_;
};

}  // namespace

std::vector<int> key_units_seen(const Bands& bands, Range queries, const Units& keys, Range heads) {
  std::vector<Range> touched;
  std::vector<int> seen;
  each_unit_touched(bands, queries, keys, touched, [&](int unit) {
    if (bands.cover(queries, keys.range(unit), heads) != Cover::empty) seen.push_back(unit);
  });
  return seen;
}

namespace {

/// The query units that each rank has of a head: [rank], ascending.
std::vector<std::vector<int>> units_held(const Placement& placement, int head) {
  std::vector<std::vector<int>> held(placement.ranks());
  for (int unit = 0; unit < placement.units(); ++unit) {
    const int owner = placement.owner(unit, head);
    const bool everywhere = owner == Placement::kEveryRank;
    for (int rank = everywhere ? 0 : owner; rank < (everywhere ? placement.ranks() : owner + 1); ++rank) held[rank].push_back(unit);
  }
  return held;
}

/// visit(unit) of every key unit that one of the query units sees, once.
template <class Visit>
void each_unit_needed(const Bands& bands, std::span<const Range> queries, const Units& keys, Range heads, Visit&& visit) {
  Unknown unknown(keys.count());
  std::vector<Range> touched;
  for (const Range positions : queries) {
    bands.keys_touched(positions, {0, keys.tokens()}, touched);
    for (const Range interval : touched) {
      const Range units = keys.units_touching(interval);
      for (int unit = unknown.from(static_cast<int>(units.begin)); unit < units.end; unit = unknown.from(unit + 1)) {
        if (bands.cover(positions, keys.range(unit), heads) == Cover::empty) continue;
        visit(unit);
        unknown.remove(unit);
      }
    }
  }
}

}  // namespace

Needs::Needs(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset, const Placement& placement,
             Heads heads)
    : Needs(placement.ranks(), placement.by_unit() && bands.heads() == 1 ? 1 : heads.count, keys.count()) {
  require_units(placement, queries.count());
  std::vector<std::vector<int>> held, before;
  std::vector<Range> positions;
  for (int head = 0; head < heads_; ++head) {
    before = std::exchange(held, units_held(placement, head));
    for (int rank = 0; rank < ranks_; ++rank) {
      if (head > 0 && bands.heads() == 1 && held[rank] == before[rank]) {
        for (int unit = 0; unit < keys.count(); ++unit) bits_[at(unit, head) + rank] = bits_[at(unit, head - 1) + rank];
        continue;
      }
      positions.clear();
      for (const int unit : held[rank]) positions.push_back(queries.range(unit) + query_offset);
      each_unit_needed(bands, positions, keys, heads_ == 1 ? kEveryHead : heads.queries_of(head),
                       [&](int unit) { bits_[at(unit, head) + rank] = 1; });
    }
  }
}

Needs Needs::of_queries(const Bands& bands, const Units& queries, const Units& keys, std::int64_t query_offset,
                        const Placement& keys_at, Heads heads) {
  Needs needs(keys_at.ranks(), bands.heads() == 1 ? 1 : heads.count, queries.count());
  for (int unit = 0; unit < queries.count(); ++unit) {
    for (int head = 0; head < needs.heads_; ++head) {
      const Range seen_by = needs.heads_ == 1 ? kEveryHead : heads.queries_of(head);
      for (const int key_unit : key_units_seen(bands, queries.range(unit) + query_offset, keys, seen_by)) {
        const int owner = keys_at.owner(key_unit);
        const bool everywhere = owner == Placement::kEveryRank;
        std::fill_n(&needs.bits_[needs.at(unit, head) + (everywhere ? 0 : owner)], everywhere ? needs.ranks_ : 1, std::uint8_t{1});
      }
    }
  }
  return needs;
}

}  // namespace gyre
