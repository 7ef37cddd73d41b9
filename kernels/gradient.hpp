// Gradient cells: between the caller's rows and what attend_backward.hpp reads and adds to, and shares, which are what travels of
// gradients: each total with what its additions lost, rounded once. A share is added to the gradient of the same rows as another
// unit's would be, with compensation, so that of a chain of shares each stop costs half a unit in the last place of what travels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/rotary.hpp"
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

/// Both, and the query cell before them: all of a backward_query cell but its trailer, if it has one. turned: queries.
void pack_backward_query(const CellShape& shape, TypedRows queries, TypedRows grad_out, TypedRows out, const float* lse,
                         std::int64_t first, std::int64_t tokens, int head, std::byte* cell, const Turned& turned = {});

/// What the rows of one query head give to the gradient of their sink logit: - sum over them of exp(sink - lse) grad_out . out, in
/// float64, in ascending order, with grad_out as cells of that type hold it. lse [tokens, query heads] is with the sink, as
/// finish_partial gives it.
double sink_gradient(Type cells, TypedRows grad_out, TypedRows out, const float* lse, int query_head, float sink);

/// Sets a grad_query or grad_key_value cell to zero.
void clear_gradient(Role role, const CellShape& shape, std::int64_t tokens, std::byte* cell);

/// Writes the share of a gradient cell, of whose role it is told: all of it but its trailer. The gradient stays as it is.
void settle_gradient(Role role, const CellShape& shape, std::int64_t tokens, const std::byte* gradient, std::byte* share);

/// Adds a share to the gradient of the same rows, of whose role it is told: the same bits with any kernels.
void add_share(const KernelTable& kernels, Role role, const CellShape& shape, std::int64_t tokens, const std::byte* share,
               std::byte* gradient);

/// Writes rows [tokens, query heads, head_dim]: gradients of what pack_query took, turned back if that was turned (in float64,
/// rounded once).
void finish_grad_query(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                       std::int64_t first, const Turned& turned = {});

/// Writes rows [tokens, key/value heads, head_dim], likewise, and [tokens, key/value heads, value_dim].
void finish_grad_key_value(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                           TypedOutRows grad_value, std::int64_t first, const Turned& turned = {});

/// The same from shares: to the bit what finishing the gradients gives that they were settled from.
void finish_grad_query_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                             std::int64_t first, const Turned& turned = {});
void finish_grad_key_value_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head,
                                 TypedOutRows grad_key, TypedOutRows grad_value, std::int64_t first, const Turned& turned = {});

}  // namespace gyre
