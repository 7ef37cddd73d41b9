// What a check compares with: rows as their cells hold them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// Queries or keys of a rank: its own, where they lie, or copies in fp32 where positions turn them (by the definition, in float64),
/// of queries one in each form.
class RowsInCells {
 public:
  /// tokens: of the rows. Others hear meanwhile that this rank lives.
  static RowsInCells queries(Transport& transport, Team& team, const Problem& problem, TypedRows rows,
                             std::span<const Range> tokens);
  static RowsInCells keys(Transport& transport, Team& team, const Problem& problem, TypedRows rows, std::span<const Range> tokens);
  const TypedRows& rows(int form = 0) const { return rows_[static_cast<std::size_t>(form)]; }

 private:
  using PositionOf = std::function<std::int64_t(std::int64_t token)>;
  void turn(Transport& transport, Team& team, const Problem& problem, TypedRows rows, std::span<const Range> tokens,
            const PositionOf& position_of);
  std::vector<std::vector<float>> turned_;  // [form]
  std::vector<TypedRows> rows_;             // [form]
};

/// Of chunks of dual chunk attention; 0 without.
std::int64_t chunk_tokens(const Problem& problem);

}  // namespace gyre
