#include "launch/rows_in_cells.hpp"

#include <algorithm>

#include "comm/while_alive.hpp"
#include "kernels/reference_rotary.hpp"

namespace gyre {

RowsInCells RowsInCells::queries(Transport& transport, Team& team, const Problem& problem, TypedRows rows,
                                 std::span<const Range> tokens) {
  RowsInCells found;
  for (int form = 0; form < problem.query_forms(); ++form) {
    found.turn(transport, team, problem, rows, tokens, [&](std::int64_t token) {
      return reference_query_position(problem.dual_chunk, token + problem.first_query_position(), form);
    });
  }
  return found;
}

RowsInCells RowsInCells::keys(Transport& transport, Team& team, const Problem& problem, TypedRows rows,
                              std::span<const Range> tokens) {
  RowsInCells found;
  found.turn(transport, team, problem, rows, tokens,
             [&](std::int64_t token) { return reference_key_position(problem.dual_chunk, token); });
  return found;
}

/// Appends a form.
void RowsInCells::turn(Transport& transport, Team& team, const Problem& problem, TypedRows rows, std::span<const Range> tokens,
                       const PositionOf& position_of) {
  rows_.push_back(rows);
  if (!problem.rotary) return;
  constexpr std::int64_t kTokens = 64;  // at a time
  std::vector<std::int64_t> positions;
  for (const Range range : tokens)
    for (std::int64_t token = range.begin; token < range.end; ++token) positions.push_back(position_of(token));
  const std::int64_t width = std::int64_t{rows.heads} * rows.dim;
  std::vector<float>& all = turned_.emplace_back(static_cast<std::size_t>(rows.tokens * width));
  const auto turn_some = [&](int task, int) {
    const std::int64_t begin = task * kTokens, count = std::min(kTokens, rows.tokens - begin);
    TypedRows some = rows;
    some.data = rows.row(begin, 0), some.tokens = count;
    const std::vector<float> turned = reference_turned(
        some, *problem.rotary, std::span(positions).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
        problem.type);
    std::copy(turned.begin(), turned.end(), all.begin() + begin * width);
  };
  while_alive(transport, [&] { team.run(static_cast<int>((rows.tokens + kTokens - 1) / kTokens), turn_some, [] {}); });
  rows_.back() = TypedRows(all.data(), rows.tokens, rows.heads, rows.dim);
}

std::int64_t chunk_tokens(const Problem& problem) {
  return problem.dual_chunk ? problem.dual_chunk->length() : 0;
}

}  // namespace gyre
