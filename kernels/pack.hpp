// Between the caller's rows and cells: queries, keys and values in; finished rows out, of partials or of results. Rows may be of
// any type: cells hold shape.type, rounded to nearest even where that is narrower (convert.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/tensor.hpp"

namespace gyre {

/// Lays out the query cell of `tokens` tokens from row `first` on, for one key/value head (query heads head * group ...).
void pack_query(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head, std::byte* cell);

/// Lays out the key/value cell of one key/value head. Rows past the unit's end become zero.
void pack_key_value(const CellShape& shape, TypedRows keys, TypedRows values, std::int64_t first, std::int64_t tokens, int head,
                    std::byte* cell);

/// The empty partial: numerator 0, sum 0, maximum kEmptyMaximum.
void clear_partial(const CellShape& shape, std::int64_t tokens, std::byte* cell);

/// Divides by the sums, each number with what its additions lost, and writes rows: out [tokens, query heads, value_dim], lse
/// [tokens, query heads] (natural logarithm; may be null). A row that saw no key: 0 and minus infinity.
void finish_partial(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                    std::int64_t first);

/// The same from a result (result.hpp): to the bit what finishing the partial gives that it was settled from.
void finish_result(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                   std::int64_t first);

}  // namespace gyre
