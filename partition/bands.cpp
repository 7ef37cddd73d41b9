#include "partition/bands.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "partition/band_algebra.hpp"
#include "partition/band_count.hpp"
#include "partition/band_places.hpp"
#include "partition/band_tile.hpp"

namespace gyre {
namespace {

void require_well_formed(const Band& band) {
  if (band.modulus < 1 || band.modulus > 2 * kUnbounded || band.residue < 0 || band.residue >= band.modulus) {
    throw std::invalid_argument("a band has residue " + std::to_string(band.residue) + " and modulus " +
                                std::to_string(band.modulus) +
                                ": the modulus must be at least 1, the residue at least 0 and below the modulus");
  }
  const bool near = std::min({band.queries.begin, band.keys.begin, band.lower}) >= -kUnbounded &&
                    std::max({band.queries.end, band.keys.end, band.upper}) <= kUnbounded;
  if (!near) throw std::invalid_argument("a band reaches farther than 2^60, which stands for no limit: use kUnbounded");
}

void require_few(std::size_t bands) {
  if (bands > Bands::kMostBands) {
    throw std::invalid_argument("the mask needs more than " + std::to_string(Bands::kMostBands) +
                                " bands, the most that one may have: use fewer documents, or combine fewer masks");
  }
}

/// Heads of all tables together.
int common_heads(const Bands::Tables& tables) {
  int heads = 1;
  for (const auto& table : tables) {
    const int its = table->shape().heads;
    if (heads != 1 && its != 1 && heads != its) {
      throw std::invalid_argument("the mask has a block table of " + std::to_string(heads) + " and one of " + std::to_string(its) +
                                  " heads: give both one head, or the same number");
    }
    heads = std::max(heads, its);
  }
  return heads;
}

/// Those of `tables` that are wanted.
template <class Wanted>
Bands::Tables tables_of(const std::vector<Band>& bands, const Bands::Tables& tables, Wanted&& wanted) {
  Bands::Tables used;
  for (const auto& table : tables) {
    if (std::any_of(bands.begin(), bands.end(), [&](const Band& band) { return wanted(band, table.get()); })) used.push_back(table);
  }
  return used;
}

}  // namespace

/// Queries that are counted at once where there are tables: their diagonals are bits in memory.
constexpr std::int64_t kMostCountedTogether = std::int64_t{1} << 20;

const std::shared_ptr<const Bands::Contents>& Bands::nothing() {
  static const auto contents = std::make_shared<const Contents>();
  return contents;
}

Bands::Bands(std::vector<Band> given, const Tables& tables) {
  for (const Band& band : given) require_well_formed(band);
  auto contents = std::make_shared<Contents>();
  contents->bands = without_contained(std::move(given));
  contents->tables = tables_of(contents->bands, tables, [](const Band& band, const BlockTable* table) {
    return band.blocks == table || band.diagonals == table;
  });
  contents->block_tables =
      tables_of(contents->bands, tables, [](const Band& band, const BlockTable* table) { return band.blocks == table; });
  contents->heads = common_heads(contents->tables);
  const std::vector<Band>& bands = contents->bands;
  require_few(bands.size());
  if (!bands.empty()) {
    const std::size_t leaves = std::bit_ceil(bands.size());
    std::vector<std::int64_t>& latest_end = contents->latest_end;
    latest_end.assign(2 * leaves, -kUnbounded);
    for (std::size_t k = 0; k < bands.size(); ++k) latest_end[leaves + k] = bands[k].queries.end;
    for (std::size_t node = leaves - 1; node > 0; --node)
      latest_end[node] = std::max(latest_end[2 * node], latest_end[2 * node + 1]);
  }
  contents_ = std::move(contents);
}

bool Bands::heads_alike(int together) const {
  return std::all_of(tables().begin(), tables().end(), [&](const auto& table) { return table->alike(together); });
}

Bands Bands::at(std::int64_t first_query_position) const {
  Bands bound(*this);
  bound.first_query_ = first_query_position;
  return bound;
}

std::int64_t Bands::common_position(const Bands& a, const Bands& b) {
  if (a.block_tables().empty() || b.block_tables().empty()) return a.block_tables().empty() ? b.first_query_ : a.first_query_;
  if (a.first_query_ == b.first_query_) return a.first_query_;
  throw std::invalid_argument("block tables whose first queries are at positions " + std::to_string(a.first_query_) + " and " +
                              std::to_string(b.first_query_) + " are combined: bind them to one position, or afterwards");
}

// Depth first through the tree, leaving out what ends too early. An odd node is a right child: after it, go up to the nearest left
// child and over to its sibling. The first leaf that begins too late ends the search, since bands ascend in queries.begin.
template <class Visit>
void Bands::each_touching(Range queries, Visit&& visit) const {
  const auto& [bands, latest_end, tables, block_tables, heads] = *contents_;
  if (bands.empty() || queries.empty()) return;
  const std::size_t leaves = latest_end.size() / 2;
  for (std::size_t node = 1; node != 0;) {
    if (latest_end[node] > queries.begin) {
      if (node < leaves) {
        node *= 2;
        continue;
      }
      const Band& band = bands[node - leaves];
      if (band.queries.begin >= queries.end || !visit(band)) return;
    }
    node >>= std::countr_one(node);
    if (node != 0) ++node;
  }
}

bool Bands::visible(std::int64_t query, std::int64_t key, int head) const {
  bool seen = false;
  each_touching({query, query + 1}, [&](const Band& band) {
    seen = band.visible(query, key) && shown_by_tables(band, first_query_, head, query, key);
    return !seen;
  });
  return seen;
}

Cover Bands::cover(Range queries, Range keys, Range heads) const {
  if (queries.empty() || keys.empty()) return Cover::empty;
  Cover cover = Cover::empty;
  heads = this->heads() == 1 ? Range{0, 1} : heads & Range{0, this->heads()};
  each_touching(queries, [&](const Band& band) {
    cover = std::max(cover, cover_of(band, queries, keys, heads, first_query_));
    return cover != Cover::full;
  });
  return cover;
}

std::vector<Band> Bands::parts_in(Range queries, Range keys) const {
  std::vector<Band> parts;
  each_touching(queries, [&](const Band& band) {
    const Band part = clipped(band, queries, keys);
    if (!part.empty()) parts.push_back(part);
    return true;
  });
  return parts;
}

std::int64_t Bands::row_border_after(std::int64_t query) const {
  std::int64_t border = kUnbounded;
  for (const auto& table : block_tables()) {
    const TableAt at{*table, first_query_};
    const std::int64_t row = std::max<std::int64_t>(at.row_of(query), -1);
    if (row < table->shape().rows) border = std::min(border, at.queries_of(row).end);
  }
  return border;
}

// With tables, queries are taken in pieces within which no band begins or ends: there each is nothing but diagonals of its keys.
std::int64_t Bands::count(Range queries, Range keys) const {
  if (tables().empty()) return count_strips(parts_in(queries, keys));
  const std::vector<Band> parts = parts_in(queries, keys);
  std::vector<std::int64_t> borders;
  for (const Band& band : parts) {
    const Range seen = normal_form(band).queries;
    borders.insert(borders.end(), {seen.begin, seen.end});
  }
  std::sort(borders.begin(), borders.end());
  std::int64_t pairs = 0;
  for (std::size_t border = 1; border < borders.size(); ++border) {
    for (std::int64_t begin = borders[border - 1], end = 0; begin < borders[border]; begin = end) {
      end = std::min({borders[border], begin + kMostCountedTogether, row_border_after(begin)});
      pairs += count_row_of_blocks(parts_in({begin, end}, keys), {begin, end}, first_query_, heads());
    }
  }
  return pairs;
}

void Bands::keys_touched(Range queries, Range keys, std::vector<Range>& out) const {
  out.clear();
  each_touching(queries, [&](const Band& band) {
    const Range touched = reach(clipped(band, queries, keys));
    if (!touched.empty()) out.push_back(touched);
    return true;
  });
  std::sort(out.begin(), out.end(), [](Range a, Range b) { return a.begin < b.begin; });
  std::size_t merged = 0;
  for (const Range touched : out) {
    if (merged > 0 && touched.begin <= out[merged - 1].end) {
      out[merged - 1].end = std::max(out[merged - 1].end, touched.end);
    } else {
      out[merged++] = touched;
    }
  }
  out.resize(merged);
}

namespace {

bool has_columns(const BlockTable& table, const Bands::ColumnBlocks& which) {
  return table.shape().query_tokens >= which.least_queries && table.shape().key_tokens <= which.most_keys;
}

}  // namespace

int Bands::column_heads(const ColumnBlocks& which) const {
  int heads = 1;
  for (const auto& table : block_tables()) heads = std::max(heads, has_columns(*table, which) ? table->shape().heads : 1);
  return heads;
}

std::optional<Bands::Split> Bands::split_columns(const ColumnBlocks& which, int heads_together) const {
  std::vector<Band> columns, others;
  const BlockTable* table = nullptr;
  for (Band band : all()) {
    if (band.blocks == nullptr || !has_columns(*band.blocks, which)) {
      others.push_back(band);
      continue;
    }
    if (band.diagonals != nullptr || (table != nullptr && band.blocks != table)) return std::nullopt;
    table = std::exchange(band.blocks, nullptr);
    columns.push_back(band);
  }
  if (table == nullptr || (table->shape().heads != 1 && heads_together != 1)) return std::nullopt;
  return Split{.columns = Bands(std::move(columns)), .others = Bands(std::move(others), tables()).at(first_query_)};
}

Range Bands::same_columns(std::int64_t query, const ColumnBlocks& which) const {
  Range same{-kUnbounded, kUnbounded};
  for (const auto& table : block_tables()) {
    const TableAt at{*table, first_query_};
    if (has_columns(*table, which)) same = same & at.queries_of(at.row_of(query));
  }
  return same;
}

void Bands::columns(std::int64_t query, Range keys, const ColumnBlocks& which, Range heads, std::vector<std::int64_t>& out) const {
  out.clear();
  for (const auto& table : block_tables()) {
    if (!has_columns(*table, which)) continue;
    const TableAt at{*table, first_query_};
    const Range planes = heads & Range{0, table->shape().heads};
    for (std::int64_t head = planes.begin; head < planes.end; ++head) {
      each_run(at, static_cast<int>(head), at.row_of(query), keys, [&](Range run) {
        for (std::int64_t key = run.begin; key < run.end; ++key) out.push_back(key);
      });
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

namespace {

void require_few_lanes(std::size_t lanes) {
  if (lanes > 64) throw std::invalid_argument("a tile has " + std::to_string(lanes) + " lanes: at most 64 fit");
}

}  // namespace

void Bands::mark(std::span<const std::int64_t> lanes, std::span<const std::int32_t> heads, Range keys,
                 std::span<std::uint64_t> out) const {
  require_few_lanes(lanes.size());
  std::fill_n(out.begin(), keys.size(), std::uint64_t{0});
  const LaneSet set(lanes, heads);
  each_touching(set.queries, [&](const Band& band) {
    mark_band(band, set, first_query_, keys, out);
    return true;
  });
}

// Bands that see more than one class are marked as tokens come, some at a time.
Range Bands::mark(std::span<const std::int64_t> lanes, std::span<const std::int32_t> heads, Range unit, ResidueOrder order,
                  std::span<std::uint64_t> out) const {
  const Range all{0, unit.size()};
  if (order.stride == 1) {
    mark(lanes, heads, unit, out);
    return all;
  }
  require_few_lanes(lanes.size());
  std::fill_n(out.begin(), unit.size(), std::uint64_t{0});
  const LaneSet set(lanes, heads);
  Range others{unit.end, unit.begin}, places{all.end, all.begin};
  each_touching(set.queries, [&](const Band& band) {
    const Range seen = reach(clipped(band, set.queries, unit));
    if (seen.empty()) return true;
    if (sees_one_class(band, order)) {
      const Range marked = mark_classes(band, set, unit, order, out.data());
      places = {std::min(places.begin, marked.begin), std::max(places.end, marked.end)};
    } else {
      others = {std::min(others.begin, seen.begin), std::max(others.end, seen.end)};
    }
    return true;
  });
  for (std::int64_t begin = others.begin; begin < others.end; begin += kMarkedKeys) {
    const Range piece{begin, std::min(begin + kMarkedKeys, others.end)};
    std::array<std::uint64_t, kMarkedKeys> marks{};
    each_touching(set.queries, [&](const Band& band) {
      if (!sees_one_class(band, order)) mark_band(band, set, first_query_, piece, marks);
      return true;
    });
    add_at_places(std::span(marks).first(static_cast<std::size_t>(piece.size())), piece.begin - unit.begin, unit.size(), order,
                  out.data());
  }
  return others.empty() ? places : all;
}

namespace {

/// The tables of two sets in one list: what says the same is kept once, and bands point to that.
class JoinedTables {
 public:
  explicit JoinedTables(const Bands::Tables& tables) : tables_(tables) {}

  const BlockTable* adopt(const std::shared_ptr<const BlockTable>& table) {
    for (const auto& mine : tables_) {
      if (mine == table || *mine == *table) return mine.get();
    }
    tables_.push_back(table);
    return table.get();
  }
  /// The table that shows what both show; the same for the same two.
  const BlockTable* both(const BlockTable* a, const BlockTable* b) {
    if (a == nullptr || b == nullptr || a == b) return a != nullptr ? a : b;
    const BlockTable*& combined = combined_[{a, b}];
    if (combined == nullptr) combined = adopt(std::make_shared<const BlockTable>(*a & *b));
    return combined;
  }
  const Bands::Tables& list() const { return tables_; }

 private:
  Bands::Tables tables_;
  std::map<std::pair<const BlockTable*, const BlockTable*>, const BlockTable*> combined_;
};

/// The second set's tables, found again among the first one's.
std::map<const BlockTable*, const BlockTable*> adopt_all(JoinedTables& joined, const Bands::Tables& tables) {
  std::map<const BlockTable*, const BlockTable*> adopted{{nullptr, nullptr}};
  for (const auto& table : tables) adopted[table.get()] = joined.adopt(table);
  return adopted;
}

}  // namespace

Bands operator&(const Bands& a, const Bands& b) {
  JoinedTables tables(a.tables());
  const auto adopted = adopt_all(tables, b.tables());
  std::vector<Band> result;
  for (const Band& left : a.all()) {
    b.each_touching(left.queries, [&](const Band& right) {
      Band both = left & right;
      if (both.empty()) return true;
      both.blocks = tables.both(left.blocks, adopted.at(right.blocks));
      both.diagonals = tables.both(left.diagonals, adopted.at(right.diagonals));
      result.push_back(both);
      require_few(result.size());
      return true;
    });
  }
  return Bands(std::move(result), tables.list()).at(Bands::common_position(a, b));
}

Bands operator|(const Bands& a, const Bands& b) {
  JoinedTables tables(a.tables());
  const auto adopted = adopt_all(tables, b.tables());
  std::vector<Band> result(a.all().begin(), a.all().end());
  result.insert(result.end(), b.all().begin(), b.all().end());
  for (auto band = result.begin() + std::ssize(a.all()); band != result.end(); ++band) {
    band->blocks = adopted.at(band->blocks), band->diagonals = adopted.at(band->diagonals);
  }
  return Bands(std::move(result), tables.list()).at(Bands::common_position(a, b));
}

}  // namespace gyre
