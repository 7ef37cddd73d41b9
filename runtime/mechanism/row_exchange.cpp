#include "runtime/mechanism/row_exchange.hpp"

#include <optional>
#include <stdexcept>
#include <string>

#include "comm/heartbeat.hpp"
#include "kernels/convert.hpp"
#include "partition/placement.hpp"
#include "runtime/layout.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr int kLane = 0;

/// Tokens that one side holds and the other wants, and where they lie among the rows of each.
struct Common {
  Range tokens;
  std::int64_t held_row = 0, wanted_row = 0;
};

std::vector<Common> common(std::span<const Range> held, std::span<const Range> wanted) {
  std::vector<Common> parts;
  std::int64_t held_before = 0, wanted_before = 0;
  for (std::size_t a = 0, b = 0; a < held.size() && b < wanted.size();) {
    const Range both = held[a] & wanted[b];
    if (!both.empty())
      parts.push_back({both, held_before + both.begin - held[a].begin, wanted_before + both.begin - wanted[b].begin});
    const bool held_ends = held[a].end <= wanted[b].end;
    const bool wanted_ends = wanted[b].end <= held[a].end;
    if (held_ends) held_before += held[a++].size();
    if (wanted_ends) wanted_before += wanted[b++].size();
  }
  return parts;
}

/// What goes between this rank and one other, or stays here.
struct Parcel {
  int peer = 0;
  std::vector<Common> parts;
  std::vector<std::byte> bytes;
  Ticket ticket{};

  Parcel(int other, std::vector<Common> tokens, std::int64_t row_bytes) : peer(other), parts(std::move(tokens)) {
    std::int64_t rows = 0;
    for (const Common& part : parts) rows += part.tokens.size();
    bytes.resize(static_cast<std::size_t>(rows * row_bytes));
  }
};

/// Turns rows. It starts anew at every 64th position, so that the bits of a row depend on its own alone.
class RowTurner {
 public:
  explicit RowTurner(const RowsOnRanks& from) : table_(from.rotary), standing_(from.standing) {}
  void stand_at(std::int64_t token) {
    constexpr std::int64_t kSteps = 64;
    const std::int64_t position = standing_.position(token), start = floor_divide(position, kSteps) * kSteps;
    if (table_ == nullptr || (turner_ && position == position_)) return;
    if (!turner_ || position < position_ || start > position_) turner_.emplace(*table_, Stretch{.first = start}), position_ = start;
    for (; position_ < position; ++position_) turner_->advance();
  }
  /// One row into `to`, by way of `row`, [dim].
  void write(const void* from, Type from_type, std::int64_t dim, Type type, std::vector<float>& row, std::byte* to) const {
    if (table_ == nullptr) {
      convert(from, from_type, to, type, dim);
      return;
    }
    convert(from, from_type, row.data(), Type::f32, dim);
    turner_->turn(row.data());
    convert(row.data(), Type::f32, to, type, dim);
  }

 private:
  const RotaryTable* table_;
  Standing standing_;
  std::int64_t position_ = 0;  // where the turner stands
  std::optional<Turner> turner_;
};

/// Rows of some heads, turned and rounded to `type`, one after the other.
void write_rows(const RowsOnRanks& from, Range heads, Type type, Parcel& parcel) {
  const TypedRows& rows = from.rows;
  std::byte* to = parcel.bytes.data();
  std::vector<float> scratch(static_cast<std::size_t>(rows.dim));
  RowTurner turner(from);
  for (const Common& part : parcel.parts) {
    for (std::int64_t index = 0; index < part.tokens.size(); ++index) {
      turner.stand_at(part.tokens.begin + index);
      for (std::int64_t head = heads.begin; head < heads.end; ++head, to += rows.dim * type_bytes(type))
        turner.write(rows.row(part.held_row + index, static_cast<int>(head)), rows.type, rows.dim, type, scratch, to);
    }
  }
}

void read_rows(const Parcel& parcel, Type type, std::int64_t width, float* into) {
  const std::byte* from = parcel.bytes.data();
  for (const Common& part : parcel.parts) {
    const std::int64_t values = part.tokens.size() * width;
    convert(from, type, into + part.wanted_row * width, Type::f32, values);
    from += values * type_bytes(type);
  }
}

void wait(Transport& transport, const Parcel& parcel) {
  if (transport.test(parcel.ticket)) return;
  Waiting waiting(transport.heartbeat(), parcel.peer);
  while (!transport.test(parcel.ticket)) waiting.fruitless();
}

}  // namespace

std::int64_t count_of(std::span<const Range> ranges) {
  std::int64_t count = 0;
  for (const Range range : ranges) count += range.size();
  return count;
}

RowMap gather_row_map(Transport& transport, std::span<const Range> mine) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(transport.ranks()));
  all_gather_value<std::int64_t>(transport, std::ssize(mine), counts);
  const auto most = static_cast<std::size_t>(*std::max_element(counts.begin(), counts.end()));
  std::vector<Range> padded(most), all(most * counts.size());
  std::copy(mine.begin(), mine.end(), padded.begin());
  transport.all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));
  RowMap map;
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(rank * most);
    map.emplace_back(first, first + counts[rank]);
  }
  return map;
}

void require_covered(const RowMap& held, std::int64_t tokens, const char* name) {
  std::vector<Range> all;
  for (const auto& ranges : held) all.insert(all.end(), ranges.begin(), ranges.end());
  std::erase_if(all, [](Range range) { return range.empty(); });
  std::ranges::sort(all, {}, &Range::begin);
  std::int64_t end = 0;
  for (const Range range : all) {
    if (range.begin != end) break;
    end = range.end;
  }
  if (count_of(all) == tokens && end == tokens) return;
  throw std::invalid_argument(std::string("the ranks' ") + name + " rows are not each of " + plural(tokens, "token") +
                              " once; give an estimate all rows, none twice");
}

std::vector<std::int64_t> listed(std::span<const Range> ranges) {
  std::vector<std::int64_t> indices;
  for (const Range range : ranges) {
    for (std::int64_t index = range.begin; index < range.end; ++index) indices.push_back(index);
  }
  return indices;
}

std::vector<float> fetch_rows(Transport& transport, const RowsOnRanks& from, Range heads, Type type, const RowMap& wanted) {
  const int me = transport.rank();
  const std::int64_t width = heads.size() * from.rows.dim, row_bytes = width * type_bytes(type);
  std::vector<Parcel> outgoing, incoming;
  transport.reserve(2 * static_cast<std::size_t>(transport.ranks()));
  for (int peer = 0; peer < transport.ranks(); ++peer) {
    if (peer == me) continue;
    Parcel parcel(peer, common(from.held[peer], wanted[me]), row_bytes);
    if (parcel.bytes.empty()) continue;
    parcel.ticket = transport.receive(peer, kLane, parcel.bytes);
    incoming.push_back(std::move(parcel));  // the bytes stay where they are
  }
  for (int step = 1; step < transport.ranks(); ++step) {
    const int peer = (me + step) % transport.ranks();
    Parcel parcel(peer, common(from.held[me], wanted[peer]), row_bytes);
    if (parcel.bytes.empty()) continue;
    write_rows(from, heads, type, parcel);
    parcel.ticket = transport.send(peer, kLane, parcel.bytes);
    outgoing.push_back(std::move(parcel));
  }
  std::vector<float> rows(static_cast<std::size_t>(count_of(wanted[me]) * width));
  Parcel own(me, common(from.held[me], wanted[me]), row_bytes);
  write_rows(from, heads, type, own);
  read_rows(own, type, width, rows.data());
  for (const Parcel& parcel : incoming) {
    wait(transport, parcel);
    read_rows(parcel, type, width, rows.data());
  }
  for (const Parcel& parcel : outgoing) wait(transport, parcel);
  return rows;
}

RowMap whole_blocks(const RowMap& held, std::int64_t block_tokens, std::int64_t tokens) {
  RowMap whole(held.size());
  for (std::size_t rank = 0; rank < held.size(); ++rank) {
    for (const Range range : held[rank]) {
      const std::int64_t first = (range.begin + block_tokens - 1) / block_tokens,
                         end = (range.end + block_tokens - 1) / block_tokens;
      if (first >= end) continue;
      const Range blocks{first * block_tokens, std::min(tokens, end * block_tokens)};
      if (!whole[rank].empty() && whole[rank].back().end == blocks.begin) {
        whole[rank].back().end = blocks.end;
      } else {
        whole[rank].push_back(blocks);
      }
    }
  }
  return whole;
}

RowMap zigzag_rows(std::int64_t tokens, std::int64_t block_tokens, int ranks) {
  const Units blocks(tokens, block_tokens);
  const Placement placement = Placement::zigzag(blocks, ranks);
  RowMap rows;
  for (int rank = 0; rank < ranks; ++rank) rows.push_back(rows_of(blocks, placement, rank));
  return rows;
}

RowMap blocks_of(const RowMap& tokens, std::int64_t block_tokens) {
  RowMap blocks = tokens;
  for (auto& ranges : blocks) {
    for (Range& range : ranges) range = {range.begin / block_tokens, (range.end + block_tokens - 1) / block_tokens};
  }
  return blocks;
}

}  // namespace gyre
