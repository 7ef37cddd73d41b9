#include "runtime/layout.hpp"

#include <stdexcept>
#include <string>

namespace gyre {
namespace {

/// Where units of an axis restart: document borders, and stripes of striped(B). `offset`: position of token 0.
std::vector<std::int64_t> cuts_of(const Problem& problem, const PartitionChoice& choice, std::int64_t tokens, std::int64_t offset) {
  std::vector<std::int64_t> cuts;
  for (const std::int64_t border : problem.mask.borders()) cuts.push_back(border - offset);
  if (choice.kind == PartitionChoice::Kind::striped_tokens) {
    for (std::int64_t cut = choice.stripe_tokens; cut < tokens; cut += choice.stripe_tokens) cuts.push_back(cut);
  }
  return cuts;
}

Units make_units(const Problem& problem, const Options& options, std::int64_t tokens, std::int64_t offset, int ranks) {
  const std::int64_t length = options.unit_tokens != 0 ? options.unit_tokens : default_unit_tokens(tokens, ranks);
  return Units(tokens, length, cuts_of(problem, options.partition, tokens, offset));
}

Placement place(const PartitionChoice& choice, const Units& units, int ranks, std::span<const std::int64_t> work) {
  using Kind = PartitionChoice::Kind;
  switch (choice.kind) {
    case Kind::contiguous:
      return Placement::contiguous(units, ranks);
    case Kind::zigzag:
      return Placement::zigzag(units, ranks);
    case Kind::striped:
      return Placement::striped(units, ranks);
    case Kind::striped_tokens:
      return Placement::striped(units, ranks, choice.stripe_tokens);
    case Kind::balanced:
      return Placement::balanced(units, ranks, work);
    case Kind::automatic:
      break;
  }
  throw std::logic_error("an automatic placement has to be resolved first");
}

/// The first of contiguous, zigzag and balanced whose greatest rank has at most 5% more work than the mean; else the best of them.
/// In this order because neighbours in the sequence on one rank are what thins windows and documents best.
PartitionChoice choose_partition(const Units& units, int ranks, const std::vector<std::int64_t>& work) {
  using Kind = PartitionChoice::Kind;
  constexpr double kGoodEnough = 1.05;
  PartitionChoice best{Kind::contiguous};
  double least = 0;
  for (const Kind kind : {Kind::contiguous, Kind::zigzag, Kind::balanced}) {
    const PartitionChoice choice{kind};
    const double found = imbalance(work_by_rank(place(choice, units, ranks, work), work));
    if (kind == Kind::contiguous || found < least) best = choice, least = found;
    if (least <= kGoodEnough) break;
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

Layout::Layout(const Problem& given, const Options& options, int rank_count)
    : problem(given),
      ranks(rank_count),
      partition(options.partition),
      query_units(make_units(given, options, given.query_tokens, given.first_query_position(), rank_count)),
      key_units(make_units(given, options, given.key_tokens, 0, rank_count)),
      bands_(given.bands()) {
  using Kind = PartitionChoice::Kind;
  std::vector<std::int64_t> work;
  if (partition.kind == Kind::automatic || partition.kind == Kind::balanced) {
    work = count_work(bands(), query_units, key_units, problem.first_query_position());
  }
  if (partition.kind == Kind::automatic) partition = choose_partition(query_units, ranks, work);
  queries = place(partition, query_units, ranks, work);
  if (problem.self_attention() && query_units.count() == key_units.count()) {
    keys = queries;
  } else {
    keys = place(partition.kind == Kind::balanced ? PartitionChoice{Kind::contiguous} : partition, key_units, ranks, {});
  }
  needs = Needs(bands(), query_units, key_units, problem.first_query_position(), queries);
  query_begin_ = cell_begins(Role::query, problem.cell_shape(), query_units);
  partial_begin_ = cell_begins(Role::partial, problem.cell_shape(), query_units);
  key_begin_ = cell_begins(Role::key_value, problem.cell_shape(), key_units);
}

std::vector<int> Layout::query_units_of(int rank) const {
  return units_held(queries, rank);
}
std::vector<int> Layout::key_units_of(int rank) const {
  return units_held(keys, rank);
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
