// Gradient cells: between the caller's rows and what attend_backward.hpp reads and adds to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/tensor.hpp"

namespace gyre {

/// Lays out the grad_out cell of `tokens` tokens from row `first` on, for one key/value head: rows [tokens, query heads,
/// value_dim].
void pack_grad_out(const CellShape& shape, TypedRows grad_out, std::int64_t first, std::int64_t tokens, int head, std::byte* cell);

/// Lays out the row_statistics cell: log-sum-exp (natural, lse [tokens, query heads] of the whole sequence's keys) and
/// D = grad_out . out, with grad_out as its cell holds it. A row that saw no key (lse is minus infinity) and rows past the end get
/// kBlindLogSumExp and 0: all their weights are then 0.
void pack_row_statistics(const CellShape& shape, TypedRows grad_out, TypedRows out, const float* lse, std::int64_t first,
                         std::int64_t tokens, int head, std::byte* cell);

/// Sets a grad_query or grad_key_value cell to zero.
void clear_gradient(Role role, const CellShape& shape, std::int64_t tokens, std::byte* cell);

/// Writes rows [tokens, query heads, head_dim].
void finish_grad_query(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                       std::int64_t first);

/// Writes rows [tokens, key/value heads, head_dim] and [tokens, key/value heads, value_dim].
void finish_grad_key_value(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                           TypedOutRows grad_value, std::int64_t first);

}  // namespace gyre
