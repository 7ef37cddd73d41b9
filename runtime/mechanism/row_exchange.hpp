// Rows from whoever holds them to whoever wants them. Who holds and who wants is data, the same on every rank; so an estimator
// works in blocks of its own, whatever the placement of the caller's rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/rotary.hpp"
#include "kernels/tensor.hpp"
#include "partition/units.hpp"

namespace gyre {

/// By rank: ascending ranges that do not overlap, of tokens or of whatever a table counts.
using RowMap = std::vector<std::vector<Range>>;

std::int64_t count_of(std::span<const Range> ranges);
/// Every index of the ranges, one after the other.
std::vector<std::int64_t> listed(std::span<const Range> ranges);

/// What every rank says of itself. Collective.
RowMap gather_row_map(Transport& transport, std::span<const Range> mine);

/// Throws std::invalid_argument, naming the rows, unless ranks hold each of these tokens once. Local.
void require_covered(const RowMap& held, std::int64_t tokens, const char* name);

/// Where tokens are taken to stand: at first + token or, in chunks of the key axis, at shift + (first + token) mod chunk, and at
/// `last` from there on.
struct Standing {
  std::int64_t first = 0;  // of token 0
  std::int64_t chunk = 0;  // tokens; 0: there are no chunks
  std::int64_t shift = 0;
  std::int64_t last = Stretch::kNoLast;

  std::int64_t position(std::int64_t token) const {
    const std::int64_t at = first + token;
    return chunk == 0 ? at : std::min(shift + at - floor_divide(at, chunk) * chunk, last);
  }
};

/// An axis' rows: this rank's, [its tokens, heads, dim], and which tokens the ranks hold, all of them each token once.
struct RowsOnRanks {
  TypedRows rows;
  RowMap held;
  const RotaryTable* rotary = nullptr;  // by which rows are turned where they are read; null: not at all
  Standing standing{};
};

/// Some heads of the tokens that this rank wants, [tokens, heads, dim], turned and as cells of `type` hold them. Every rank gives
/// the same heads, type and wishes. Collective; blocks; allocates.
std::vector<float> fetch_rows(Transport& transport, const RowsOnRanks& from, Range heads, Type type, const RowMap& wanted);

/// Tokens that ranks take in whole blocks: each block goes to whom holds its first token. Ranges begin at blocks' borders, and end
/// there or with the sequence.
RowMap whole_blocks(const RowMap& held, std::int64_t block_tokens, std::int64_t tokens);

/// Tokens dealt to ranks so that causal work over all of them is even: 2 x ranks runs of whole blocks, folded.
RowMap zigzag_rows(std::int64_t tokens, std::int64_t block_tokens, int ranks);

/// What ranks took in whole blocks, counted in blocks.
RowMap blocks_of(const RowMap& tokens, std::int64_t block_tokens);

/// Every rank's entries, [its indices][width], as one table [total][width]; what nobody has is zero. Collective.
template <class Value>
std::vector<Value> gather_table(Transport& transport, const RowMap& indices, std::int64_t total, std::int64_t width,
                                std::span<const Value> mine) {
  std::int64_t most = 0;
  for (const auto& ranges : indices) most = std::max(most, count_of(ranges));
  std::vector<Value> padded(static_cast<std::size_t>(most * width)), all(padded.size() * indices.size());
  std::copy(mine.begin(), mine.end(), padded.begin());
  transport.all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));
  std::vector<Value> table(static_cast<std::size_t>(total * width));
  for (std::size_t rank = 0; rank < indices.size(); ++rank) {
    auto from = all.begin() + static_cast<std::ptrdiff_t>(rank * padded.size());
    for (const Range range : indices[rank]) {
      const auto end = from + static_cast<std::ptrdiff_t>(range.size() * width);
      std::copy(from, end, table.begin() + static_cast<std::ptrdiff_t>(range.begin * width));
      from = end;
    }
  }
  return table;
}

}  // namespace gyre
