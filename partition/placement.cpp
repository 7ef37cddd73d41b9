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
  return static_cast<std::int32_t>(static_cast<__int128>(unit.begin + unit.end) * chunks / (static_cast<__int128>(tokens) * 2));
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

Placement Placement::of_chunks(const Units& units, int ranks, std::span<const Chunk> chunks, const char* axis) {
  require_ranks(ranks);
  const auto refuse = [&](const std::string& what) {
    return std::invalid_argument("the layout of " + std::string(axis) + ": " + what);
  };
  std::vector<Chunk> ascending;
  for (const Chunk& chunk : chunks) {
    const std::string range = "[" + std::to_string(chunk.tokens.begin) + ", " + std::to_string(chunk.tokens.end) + ")";
    if (chunk.rank < 0 || chunk.rank >= ranks) {
      throw refuse("tokens " + range + " go to rank " + std::to_string(chunk.rank) + ", but " +
                   (ranks == 1 ? "there is 1 rank: give rank 0"
                               : "there are " + std::to_string(ranks) + " ranks: give one from 0 to " + std::to_string(ranks - 1)));
    }
    if (chunk.tokens.begin < 0 || chunk.tokens.begin > chunk.tokens.end || chunk.tokens.end > units.tokens()) {
      throw refuse("tokens " + range + " are no part of " + std::to_string(units.tokens()) +
                   ": begin and end must ascend in there");
    }
    if (!chunk.tokens.empty()) ascending.push_back(chunk);
  }
  std::sort(ascending.begin(), ascending.end(), [](const Chunk& a, const Chunk& b) { return a.tokens.begin < b.tokens.begin; });
  std::vector<std::int32_t> owners(units.count());
  std::int64_t covered = 0;
  for (const Chunk& chunk : ascending) {
    if (chunk.tokens.begin != covered) {
      throw refuse("token " + std::to_string(std::min(chunk.tokens.begin, covered)) + " lies in " +
                   (chunk.tokens.begin < covered ? "two chunks" : "no chunk") + ": cover each token once");
    }
    covered = chunk.tokens.end;
    const Range touched = units.units_touching(chunk.tokens);
    if (units.range(static_cast<int>(touched.begin)).begin != chunk.tokens.begin ||
        units.range(static_cast<int>(touched.end) - 1).end != chunk.tokens.end) {
      throw refuse("a unit crosses a border of tokens [" + std::to_string(chunk.tokens.begin) + ", " +
                   std::to_string(chunk.tokens.end) + "): cut units at every border");
    }
    std::fill(owners.begin() + touched.begin, owners.begin() + touched.end, chunk.rank);
  }
  if (covered != units.tokens()) throw refuse("token " + std::to_string(covered) + " lies in no chunk: cover each token once");
  return Placement(ranks, std::move(owners));
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

PartitionChoice PartitionChoice::layout(std::vector<Chunk> queries, std::vector<Chunk> keys) {
  return {.kind = Kind::layout, .query_chunks = std::move(queries), .key_chunks = std::move(keys)};
}

PartitionChoice PartitionChoice::parse(std::string_view text, const ReadChunks& read) {
  const auto refuse = [&] {
    return std::invalid_argument("partition \"" + std::string(text) +
                                 "\": expected contiguous, zigzag, zigzag_documents, striped, striped(B) with B of at least 1 " +
                                 "token, balanced, layout(FILE), layout(FILE,FILE) or auto");
  };
  constexpr std::string_view kLayout = "layout(";
  if (text.starts_with(kLayout) && text.ends_with(')')) {
    const std::string files(text.substr(kLayout.size(), text.size() - kLayout.size() - 1));
    const std::size_t comma = files.find(',');
    const std::string queries = files.substr(0, comma), keys = comma == std::string::npos ? "" : files.substr(comma + 1);
    if (queries.empty() || (comma != std::string::npos && keys.empty())) throw refuse();
    if (!read) throw std::invalid_argument("partition \"" + std::string(text) + "\" reads a file, which cannot be done here");
    const auto read_file = [&](const std::string& file) {
      try {
        return read(file);
      } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(std::string("--partition ") + error.what());
      }
    };
    PartitionChoice choice = layout(read_file(queries));
    if (!keys.empty()) choice.key_chunks = read_file(keys);
    choice.source = files;
    return choice;
  }
  constexpr std::string_view kStriped = "striped(";
  if (text.starts_with(kStriped) && text.ends_with(')')) {
    PartitionChoice choice{.kind = Kind::striped_tokens};
    const char* const end = text.data() + text.size() - 1;
    const auto [stop, error] = std::from_chars(text.data() + kStriped.size(), end, choice.stripe_tokens);
    if (error != std::errc{} || stop != end || choice.stripe_tokens < 1) throw refuse();
    return choice;
  }
  for (const Kind kind : {Kind::automatic, Kind::contiguous, Kind::zigzag, Kind::zigzag_documents, Kind::striped, Kind::balanced}) {
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
    case Kind::zigzag_documents:
      return "zigzag_documents";
    case Kind::striped:
      return "striped";
    case Kind::striped_tokens:
      return "striped(" + std::to_string(stripe_tokens) + ")";
    case Kind::balanced:
      return "balanced";
    case Kind::layout:
      return source.empty() ? "layout of " + std::to_string(query_chunks.size()) + " chunks" : "layout(" + source + ")";
  }
  return "";
}

}  // namespace gyre
