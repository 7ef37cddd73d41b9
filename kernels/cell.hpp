// Cells: what travels. A cell is (unit, head, role), contiguous and 64-byte aligned, laid out once by its owner in the form that
// kernels read. The layout does not depend on the instruction set, so ranks with different ones can share cells.
//
// The layout of each role is the table in kernels/README.md; the offsets in it are the functions below.
#pragma once

#include <cstdint>

#include "kernels/tensor.hpp"
#include "partition/residues.hpp"

namespace gyre {

inline constexpr int kStrip = 16;      // rows of a strip
inline constexpr int kChannels = 8;    // value channels of a block
inline constexpr int kAlignment = 64;  // bytes; of every cell

/// Backward, query rows ask with all that a key's owner needs of them: a backward_query cell is query, grad_out and row_statistics
/// cells one behind the other. Gradients accumulate in grad_ cells (totals, and what their additions lost) and travel as shares
/// (totals alone), as partials do as results.
enum class Role : std::uint8_t {
  rows,
  query,
  key_value,
  partial,
  result,
  backward_query,
  grad_query,
  grad_query_share,
  grad_key_value,
  grad_key_value_share,
  grad_out,       // a part of backward_query
  row_statistics  // a part of backward_query
};

/// Whether a role's cells are those of key units; else they are those of query units.
constexpr bool of_keys(Role role) {
  return role == Role::key_value || role == Role::grad_key_value || role == Role::grad_key_value_share;
}

/// What travels of what accumulates: results of partials, shares of gradients.
constexpr Role share_of(Role sum) {
  switch (sum) {
    case Role::partial:
      return Role::result;
    case Role::grad_query:
      return Role::grad_query_share;
    case Role::grad_key_value:
      return Role::grad_key_value_share;
    default:
      return Role::rows;  // others do not accumulate
  }
}
/// What takes it in; Role::rows of roles that are no shares.
constexpr Role sum_of(Role share) {
  for (const Role sum : {Role::partial, Role::grad_query, Role::grad_key_value}) {
    if (share_of(sum) == share) return sum;
  }
  return Role::rows;
}

/// Whether cells of roles that travel (query, key_value, result, backward_query and shares) end in a checksum (integrity.hpp).
enum class Integrity : std::uint8_t { unchecked, checked };
inline constexpr int kTrailerBytes = kAlignment;

/// In which order the query rows of a unit lie in its cells: the heads of a token side by side, or the tokens of a head. The latter
/// where heads see different keys: a vector of rows computes what any of them sees.
enum class RowOrder : std::uint8_t { by_token, by_head };

/// How cells are laid out, beside their unit's length.
struct CellShape {
  int head_dim = 0;
  int value_dim = 0;
  int group = 1;  // query heads per key/value head
  RowOrder rows = RowOrder::by_token;
  ResidueOrder residues{};  // of the tokens of a unit, of queries and of keys alike
  Type type = Type::f32;    // of query, key/value and grad_out cells; the others are fp32
  Integrity integrity = Integrity::unchecked;
  int forms = 1;  // of a row of queries: 3 in dual chunk attention (dual_chunk.hpp), of which a unit of keys sees one
};

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Elements that lie together in one 32-bit word of a query or key/value cell: two of bf16, neighbours along the dims in queries
/// and keys, along the keys in values, as instructions that multiply pairs want them. f16 has no such instructions.
constexpr int pair_of(Type type) {
  return type == Type::bf16 ? 2 : 1;
}
/// Dims that a row of queries or keys has in cells: filled up with zeros to whole words.
constexpr std::int64_t cell_dims(const CellShape& shape) {
  return round_up(shape.head_dim, pair_of(shape.type));
}

/// Elements of a piece of a cell, filled up with zeros to a multiple of kAlignment bytes.
constexpr std::int64_t aligned_elements(const CellShape& shape, std::int64_t elements) {
  return round_up(elements, kAlignment / type_bytes(shape.type));
}

/// A row of a query, partial or result cell, or of what gradients have likewise.
struct QueryRow {
  std::int64_t token = 0;  // of the unit
  int member = 0;          // of the group
};
/// row: below tokens x group. Members begin where the one before ends, within a strip or not.
constexpr QueryRow query_row(const CellShape& shape, std::int64_t tokens, std::int64_t row) {
  const bool by_head = shape.rows == RowOrder::by_head;
  const std::int64_t together = by_head ? tokens : shape.group, outer = row / together, inner = row % together;
  return {.token = shape.residues.token_at(tokens, by_head ? inner : outer), .member = static_cast<int>(by_head ? outer : inner)};
}

/// Strips of a query, partial or result cell of a unit.
constexpr std::int64_t query_strips(const CellShape& shape, std::int64_t tokens) {
  return (tokens * shape.group + kStrip - 1) / kStrip;
}
constexpr std::int64_t query_strip_elements(const CellShape& shape) {
  return aligned_elements(shape, cell_dims(shape) * kStrip);
}
/// Elements from one form of a cell's queries to the next.
constexpr std::int64_t query_form_elements(const CellShape& shape, std::int64_t tokens) {
  return query_strips(shape, tokens) * query_strip_elements(shape);
}
/// Floats from one channel's numerators in a partial to the next one's. What their additions lost lies between: folding a unit in
/// reads and writes both, and a few thousand bytes apart they would contend for the same places in the first cache level.
inline constexpr int kNumeratorStride = 2 * kStrip;
constexpr std::int64_t partial_strip_floats(const CellShape& shape) {
  return (2 * round_up(shape.value_dim, kChannels) + 3) * kStrip;
}
/// Of a result, which has one number for each two of a partial's: numerators [value_dim to 8][16], then maximum and sum [16].
constexpr std::int64_t result_strip_floats(const CellShape& shape) {
  return (round_up(shape.value_dim, kChannels) + 2) * kStrip;
}
/// Elements from the start of a key/value cell to its V.
constexpr std::int64_t value_offset_elements(const CellShape& shape, std::int64_t tokens) {
  return aligned_elements(shape, round_up(tokens, kStrip) * cell_dims(shape));
}

/// Gradients of the output have cells like queries of value_dim channels: this is their shape.
constexpr CellShape grad_out_shape(CellShape shape) {
  shape.head_dim = shape.value_dim, shape.forms = 1;
  return shape;
}
/// Gradient cells have totals in pieces of 16 floats, each followed by what its additions lost: folding reads and writes both, as
/// with numerators.
inline constexpr int kGradientStride = 2 * kStrip;
/// Where total `index` of a piece of a cell is; what it lost is kStrip floats behind.
constexpr std::int64_t gradient_at(std::int64_t index) {
  return index / kStrip * kGradientStride + index % kStrip;
}
/// Of a grad_query strip: totals [head_dim][16], as gradient_at has them.
constexpr std::int64_t grad_query_strip_floats(const CellShape& shape) {
  return std::int64_t{kGradientStride} * shape.head_dim;
}
/// Bytes from the gradient of one form of a cell's queries to that of the next.
constexpr std::int64_t grad_query_form_bytes(const CellShape& shape, std::int64_t tokens) {
  return query_strips(shape, tokens) * grad_query_strip_floats(shape) * std::int64_t{sizeof(float)};
}
/// Totals in a grad_key_value cell: of keys [tokens to 16][head_dim to 16], then of values [tokens to 16][value_dim to 16], as
/// gradient_at has them; so the first of the values is at twice the first of these.
constexpr std::int64_t grad_key_floats(const CellShape& shape, std::int64_t tokens) {
  return round_up(tokens, kStrip) * round_up(shape.head_dim, kStrip);
}
constexpr std::int64_t grad_sums_floats(const CellShape& shape, std::int64_t tokens) {
  return grad_key_floats(shape, tokens) + round_up(tokens, kStrip) * round_up(shape.value_dim, kStrip);
}

/// Bytes from the start of a backward_query cell to its grad_out, and to its row statistics.
std::int64_t grad_out_offset(const CellShape& shape, std::int64_t tokens);
std::int64_t row_statistics_offset(const CellShape& shape, std::int64_t tokens);

/// Bytes of one cell of a unit of that many tokens, a multiple of kAlignment. Role::rows has no cells.
std::int64_t cell_bytes(Role role, const CellShape& shape, std::int64_t tokens);

}  // namespace gyre
