#include "runtime/layout.hpp"

#include <stdexcept>
#include <string>

#include "kernels/columns.hpp"
#include "kernels/row_order.hpp"
#include "partition/cuts.hpp"

namespace gyre {
namespace {

/// Document borders at which units of an axis restart. `offset`: position of token 0.
std::vector<std::int64_t> borders_of(const Problem& problem, std::int64_t unit_tokens, std::int64_t offset) {
  std::vector<std::int64_t> borders = cuts_of_documents(problem.mask.borders(), problem.bands(), unit_tokens);
  for (std::int64_t& border : borders) border -= offset;
  return borders;
}

/// Where units of an axis restart: document borders, chunks of dual chunk attention, stripes of striped(B), and the caller's own
/// borders.
std::vector<std::int64_t> cuts_of(const Problem& problem, const PartitionChoice& choice, std::span<const Chunk> chunks,
                                  std::int64_t tokens, std::int64_t unit_tokens, std::int64_t offset) {
  std::vector<std::int64_t> cuts = borders_of(problem, unit_tokens, offset);
  if (problem.dual_chunk) {
    for (const std::int64_t cut : cuts_of_chunks(Range{0, tokens} + offset, problem.dual_chunk->length()))
      cuts.push_back(cut - offset);
  }
  for (const Chunk& chunk : chunks) cuts.insert(cuts.end(), {chunk.tokens.begin, chunk.tokens.end});
  if (choice.kind == PartitionChoice::Kind::striped_tokens) {
    for (std::int64_t cut = choice.stripe_tokens; cut < tokens; cut += choice.stripe_tokens) cuts.push_back(cut);
  }
  return cuts;
}

/// The chunks of keys in a caller's layout: the queries' own where none are given and there are as many keys.
std::span<const Chunk> key_chunks(const Problem& problem, const PartitionChoice& choice) {
  const bool follow = choice.key_chunks.empty() && problem.query_tokens == problem.key_tokens;
  return follow ? choice.query_chunks : choice.key_chunks;
}

/// How long units are, and in which order tokens lie in their cells: as they come where scores count keys, by slopes or dropout.
ResidueChoice choose_order(const Problem& problem, const Options& options, int ranks, const Bands& bands) {
  const std::int64_t given = options.unit_tokens;
  const std::vector<UnitTokens> lengths =
      given != 0 ? std::vector<UnitTokens>{{.queries = given, .keys = given}}
                 : unit_choices(problem.query_tokens, problem.key_tokens, ranks, unit_tokens_for_columns(bands), kLongestUnit);
  if (problem.bias != PositionBias::none || problem.dropout) return {.order = {}, .units = lengths.front()};
  return choose_residues(bands, Range{0, problem.query_tokens} + problem.first_query_position(), {0, problem.key_tokens},
                         problem.group(), lengths);
}

Units make_units(const Problem& problem, const PartitionChoice& choice, std::span<const Chunk> chunks, std::int64_t tokens,
                 std::int64_t offset, std::int64_t length) {
  return Units(tokens, length, cuts_of(problem, choice, chunks, tokens, length, offset));
}

/// What placements of an axis are made from.
struct Axis {
  const Units& units;
  int ranks;
  std::span<const std::int64_t> work;  // [unit]; of the kinds that go by it
  std::vector<std::int64_t> borders;   // of documents, where units restart
  std::span<const Chunk> chunks;       // of the caller's layout
  const char* name;
};

/// A layout that is wrong is named as it was given: by its files, where it came from some.
Placement place_chunks(const PartitionChoice& choice, const Axis& axis) {
  try {
    return Placement::of_chunks(axis.units, axis.ranks, axis.chunks, axis.name);
  } catch (const std::invalid_argument& error) {
    if (choice.source.empty()) throw;
    throw std::invalid_argument("--partition " + choice.text() + ": " + error.what());
  }
}

Placement place(const PartitionChoice& choice, const Axis& axis) {
  using Kind = PartitionChoice::Kind;
  switch (choice.kind) {
    case Kind::contiguous:
      return Placement::contiguous(axis.units, axis.ranks);
    case Kind::zigzag:
      return Placement::zigzag(axis.units, axis.ranks);
    case Kind::zigzag_documents:
      return Placement::zigzag_documents(axis.units, axis.ranks, axis.work, axis.borders);
    case Kind::striped:
      return Placement::striped(axis.units, axis.ranks);
    case Kind::striped_tokens:
      return Placement::striped(axis.units, axis.ranks, choice.stripe_tokens);
    case Kind::balanced:
      return Placement::balanced(axis.units, axis.ranks, axis.work);
    case Kind::layout:
      return place_chunks(choice, axis);
    case Kind::automatic:
      break;
  }
  throw std::logic_error("an automatic placement has to be resolved first");
}

/// Tokens of key units that ranks need and do not hold, where keys lie like queries: what travels.
std::int64_t foreign_tokens(const Needs& needs, const Placement& placement, const Units& units) {
  std::int64_t tokens = 0;
  for (int unit = 0; unit < units.count(); ++unit) {
    for (int rank = 0; rank < placement.ranks(); ++rank)
      tokens += needs.needs(rank, unit) && !placement.holds(rank, unit) ? units.length(unit) : 0;
  }
  return tokens;
}

/// Contiguous or zigzag, if the greatest rank has at most 5% more work than the mean: neighbours in the sequence on one rank are
/// what thins windows and documents best. Else, of placements by work that are as good, the one that makes least travel; else the
/// best.
PartitionChoice choose_partition(const Layout& layout, const Axis& axis) {
  using Kind = PartitionChoice::Kind;
  constexpr double kGoodEnough = 1.05;
  const std::vector<std::int64_t> work(axis.work.begin(), axis.work.end());
  const auto imbalance_of = [&](const Placement& placement) { return imbalance(work_by_rank(placement, work)); };
  PartitionChoice best{Kind::contiguous};
  double least = imbalance_of(place(best, axis));
  std::int64_t travels = -1;  // of the best, if it goes by work and is good enough
  for (const Kind kind : {Kind::zigzag, Kind::zigzag_documents, Kind::balanced}) {
    if (least <= kGoodEnough && travels < 0) break;
    if (kind == Kind::zigzag_documents && axis.borders.empty()) continue;
    const Placement placement = place({kind}, axis);
    const double found = imbalance_of(placement);
    std::int64_t tokens = -1;
    if (kind != Kind::zigzag && found <= kGoodEnough) {
      const Needs needs(layout.bands(), axis.units, layout.key_units, layout.problem.first_query_position(), placement);
      tokens = layout.key_units.count() == axis.units.count() ? foreign_tokens(needs, placement, axis.units) : 0;
    }
    const bool better = tokens >= 0 && travels >= 0 ? tokens < travels : found < least;
    if (better) best = {kind}, least = found, travels = tokens;
  }
  return best;
}

std::vector<std::int64_t> cell_begins(Role role, const CellShape& shape, const Units& units) {
  std::vector<std::int64_t> begins{0};
  begins.reserve(units.count() + 1);
  for (int unit = 0; unit < units.count(); ++unit)
    begins.push_back(begins.back() + gyre::cell_bytes(role, shape, units.length(unit)));
  return begins;
}

std::vector<int> units_held(const Placement& placement, int rank) {
  std::vector<int> held;
  for (int unit = 0; unit < placement.units(); ++unit) {
    if (placement.holds(rank, unit)) held.push_back(unit);
  }
  return held;
}

}  // namespace

Layout::Layout(const Problem& given, const Options& options, int rank_count) : Layout(given, options, rank_count, given.bands()) {}

Layout::Layout(const Problem& given, const Options& options, int rank_count, const Bands& seen)
    : Layout(given, options, rank_count, seen, choose_order(given, options, rank_count, seen)) {}

Layout::Layout(const Problem& given, const Options& options, int rank_count, const Bands& seen, const ResidueChoice& order)
    : problem(given),
      ranks(rank_count),
      integrity(options.integrity),
      piece_bytes(options.piece_bytes),
      partition(options.partition),
      residues(order.order),
      query_units(make_units(given, partition, partition.query_chunks, given.query_tokens, given.first_query_position(),
                             order.units.queries)),
      key_units(make_units(given, partition, key_chunks(given, partition), given.key_tokens, 0, order.units.keys)),
      bands_(seen) {
  rows = row_order_for(bands(), problem.group());
  place_queries();
  place_keys();
  find_needs();
  for (const Role role : {Role::query, Role::key_value, Role::partial, Role::result, Role::backward_query, Role::grad_query,
                          Role::grad_query_share, Role::grad_key_value, Role::grad_key_value_share}) {
    cell_begins_[static_cast<std::size_t>(role)] = cell_begins(role, cell_shape(), units_of(role));
  }
}

void Layout::find_needs() {
  needs = Needs(bands(), query_units, key_units, problem.first_query_position(), queries, {problem.key_heads, problem.group()});
}

Layout Layout::without_mask() const {
  Layout all = *this;
  all.problem.mask = Mask::full();
  all.bands_ = all.problem.mask.bands_at(problem.first_query_position());
  all.find_needs();
  return all;
}

void Layout::place_queries() {
  using Kind = PartitionChoice::Kind;
  const bool by_work =
      partition.kind == Kind::automatic || partition.kind == Kind::balanced || partition.kind == Kind::zigzag_documents;
  std::vector<std::int64_t> work;
  if (by_work) work = count_work(bands(), query_units, key_units, problem.first_query_position());
  const Axis axis{.units = query_units,
                  .ranks = ranks,
                  .work = work,
                  .borders = borders_of(problem, query_units.unit_tokens(), problem.first_query_position()),
                  .chunks = partition.query_chunks,
                  .name = "queries"};
  if (partition.kind == Kind::automatic) partition = choose_partition(*this, axis);
  queries = place(partition, axis);
}

/// Like queries in self-attention; else by the same rule, as far as it does not go by work.
void Layout::place_keys() {
  using Kind = PartitionChoice::Kind;
  const bool own_layout = partition.kind == Kind::layout && !partition.key_chunks.empty();
  if (problem.self_attention() && query_units.count() == key_units.count() && !own_layout) {
    keys = queries;
    return;
  }
  std::vector<std::int64_t> lengths;
  lengths.reserve(key_units.count());
  for (int unit = 0; unit < key_units.count(); ++unit) lengths.push_back(key_units.length(unit));
  const Axis axis{.units = key_units,
                  .ranks = ranks,
                  .work = lengths,
                  .borders = borders_of(problem, key_units.unit_tokens(), 0),
                  .chunks = key_chunks(problem, partition),
                  .name = "keys"};
  const bool contiguous = partition.kind == Kind::balanced || (partition.kind == Kind::layout && axis.chunks.empty());
  keys = place(contiguous ? PartitionChoice{Kind::contiguous} : partition, axis);
}

std::vector<int> Layout::query_units_of(int rank) const {
  return units_held(queries, rank);
}
std::vector<int> Layout::key_units_of(int rank) const {
  return units_held(keys, rank);
}

UnitTokens unit_tokens_of(const Problem& problem, const Options& options, int ranks) {
  return choose_order(problem, options, ranks, problem.bands()).units;
}

std::vector<std::vector<int>> units_by_rank(const Placement& placement) {
  std::vector<std::vector<int>> units(placement.ranks());
  for (int unit = 0; unit < placement.units(); ++unit) {
    if (const int owner = placement.owner(unit); owner != Placement::kEveryRank) {
      units[owner].push_back(unit);
    } else {
      for (auto& list : units) list.push_back(unit);
    }
  }
  return units;
}

std::vector<CellRun> runs_of_units(std::span<const int> units, int heads, int first_head) {
  std::vector<CellRun> runs;
  for (const int unit : units) {
    const auto index = static_cast<std::uint32_t>(unit);
    if (!runs.empty() && runs.back().unit + runs.back().units == index) {
      ++runs.back().units;
    } else {
      runs.push_back({index, 1, static_cast<std::uint16_t>(first_head), static_cast<std::uint16_t>(heads)});
    }
  }
  return runs;
}

std::vector<Range> rows_of(const Units& units, const Placement& placement, int rank) {
  std::vector<Range> rows;
  for (const int unit : units_held(placement, rank)) {
    const Range range = units.range(unit);
    if (!rows.empty() && rows.back().end == range.begin) {
      rows.back().end = range.end;
    } else {
      rows.push_back(range);
    }
  }
  return rows;
}

}  // namespace gyre
