#include "partition/placement.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace gyre {
namespace {

void require_ranks(int ranks) {
  if (ranks < 1) throw std::invalid_argument("a placement has " + std::to_string(ranks) + " ranks: it must have at least 1");
}

// Of `chunks` equal pieces of the axis, the one that the unit's midpoint lies in: units of any lengths balance by tokens.
std::int32_t chunk_of(Range unit, std::int64_t tokens, std::int64_t chunks) {
  return static_cast<std::int32_t>(static_cast<__int128>(unit.begin + unit.end) * chunks / (2 * tokens));
}

template <class OwnerOf>
Placement by_range(const Units& units, int ranks, OwnerOf&& owner_of) {
  require_ranks(ranks);
  std::vector<std::int32_t> owners(units.count());
  for (int unit = 0; unit < units.count(); ++unit) owners[unit] = owner_of(units.range(unit));
  return Placement(ranks, std::move(owners));
}

}  // namespace

Placement::Placement(int ranks, std::vector<std::int32_t> owners, int heads)
    : ranks_(ranks), heads_(heads), owners_(std::move(owners)) {
  require_ranks(ranks);
  if (heads < 1 || owners_.size() % heads != 0) {
    throw std::invalid_argument("a placement has " + std::to_string(owners_.size()) + " owners for " + std::to_string(heads) +
                                " heads: give one owner for each unit and head");
  }
  for (const std::int32_t owner : owners_) {
    if (owner < kEveryRank || owner >= ranks) {
      throw std::invalid_argument("a unit is owned by rank " + std::to_string(owner) + " of " + std::to_string(ranks) +
                                  ": owners are ranks from 0 on, or -1 for every rank");
    }
  }
}

bool Placement::holds(int rank, int unit, int head) const {
  const int holder = owner(unit, head);
  return holder == rank || holder == kEveryRank;
}

std::vector<CellRun> Placement::runs(int rank, int heads) const {
  if (!by_unit() && heads != heads_) {
    throw std::invalid_argument("runs of " + std::to_string(heads) + " heads of a placement that has " + std::to_string(heads_) +
                                " heads: ask for as many");
  }
  std::vector<CellRun> runs;
  std::size_t previous = 0;  // the first run that reaches the unit before
  for (int unit = 0; unit < units(); ++unit) {
    std::vector<CellRun> here;
    for (int head = 0; head < heads; ++head) {
      if (!holds(rank, unit, head)) continue;
      const bool joins = !here.empty() && here.back().head + here.back().heads == head;
      if (!joins) here.push_back({static_cast<std::uint32_t>(unit), 1, static_cast<std::uint16_t>(head), 0});
      ++here.back().heads;
    }
    const auto same_heads = [](const CellRun& a, const CellRun& b) { return a.head == b.head && a.heads == b.heads; };
    if (!here.empty() && std::equal(runs.begin() + previous, runs.end(), here.begin(), here.end(), same_heads)) {
      for (std::size_t run = previous; run < runs.size(); ++run) ++runs[run].units;
    } else {
      previous = runs.size();
      runs.insert(runs.end(), here.begin(), here.end());
    }
  }
  return runs;
}

std::int64_t Placement::tokens(const Units& units, int rank) const {
  if (!by_unit() || units.count() != this->units()) {
    throw std::invalid_argument("a placement of " + std::to_string(this->units()) + " units and " + std::to_string(heads_) +
                                " columns of heads counts no tokens of " + std::to_string(units.count()) +
                                " units: it must place these units, whole");
  }
  std::int64_t tokens = 0;
  for (int unit = 0; unit < units.count(); ++unit) tokens += holds(rank, unit) ? units.length(unit) : 0;
  return tokens;
}

Placement Placement::contiguous(const Units& units, int ranks) {
  return by_range(units, ranks, [&](Range unit) { return chunk_of(unit, units.tokens(), ranks); });
}

Placement Placement::zigzag(const Units& units, int ranks) {
  return by_range(units, ranks, [&](Range unit) {
    const std::int32_t chunk = chunk_of(unit, units.tokens(), 2 * std::int64_t{ranks});
    return chunk < ranks ? chunk : 2 * ranks - 1 - chunk;
  });
}

Placement Placement::striped(const Units& units, int ranks) {
  std::int32_t unit = 0;
  return by_range(units, ranks, [&](Range) { return unit++ % ranks; });
}

Placement Placement::striped(const Units& units, int ranks, std::int64_t tokens) {
  if (tokens < 1) throw std::invalid_argument("a stripe has " + std::to_string(tokens) + " tokens: it must have at least 1");
  return by_range(units, ranks, [&](Range unit) {
    if (unit.begin / tokens != (unit.end - 1) / tokens) {
      throw std::invalid_argument("the unit at token " + std::to_string(unit.begin) + " crosses a border of stripes of " +
                                  std::to_string(tokens) + " tokens: cut units at every stripe");
    }
    return static_cast<std::int32_t>(unit.begin / tokens % ranks);
  });
}

PartitionChoice PartitionChoice::parse(std::string_view text) {
  const auto refuse = [&] {
    return std::invalid_argument(
        "partition \"" + std::string(text) +
        "\": expected contiguous, zigzag, striped, striped(B) with B of at least 1 token, balanced or auto");
  };
  constexpr std::string_view kStriped = "striped(";
  if (text.starts_with(kStriped) && text.ends_with(')')) {
    PartitionChoice choice{.kind = Kind::striped_tokens};
    const char* const end = text.data() + text.size() - 1;
    const auto [stop, error] = std::from_chars(text.data() + kStriped.size(), end, choice.stripe_tokens);
    if (error != std::errc{} || stop != end || choice.stripe_tokens < 1) throw refuse();
    return choice;
  }
  for (const Kind kind : {Kind::automatic, Kind::contiguous, Kind::zigzag, Kind::striped, Kind::balanced}) {
    if (PartitionChoice{kind}.text() == text) return {kind};
  }
  throw refuse();
}

std::string PartitionChoice::text() const {
  switch (kind) {
    case Kind::automatic:
      return "auto";
    case Kind::contiguous:
      return "contiguous";
    case Kind::zigzag:
      return "zigzag";
    case Kind::striped:
      return "striped";
    case Kind::striped_tokens:
      return "striped(" + std::to_string(stripe_tokens) + ")";
    case Kind::balanced:
      return "balanced";
  }
  return "";
}

}  // namespace gyre
