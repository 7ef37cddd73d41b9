// Dynamic sparsity: from queries and keys over all ranks to a mask, with which an ordinary Attention does the rest. Only units that
// hold a visible pair travel then, and a placement by work (balanced, auto) deals the rows anew.
//
//   run_loopback(4, [&](Transport& transport) {
//     Mask mask = estimate_mask(transport, team, kernels, problem, {queries, keys, query_rows, key_rows}, choices);
//     problem.mask = mask;
//     Attention attention(transport, problem, options);        // its rows may lie elsewhere: attention.query_rows()
//     ...
//
// No gradient flows through a selection: backward is the mask's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "kernels/tensor.hpp"
#include "runtime/mechanism/row_exchange.hpp"
#include "runtime/mechanism/sparse_choice.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// This rank's rows, borrowed for the call. Of any type; they count as Problem::type holds them, turned where it has rotary
/// positions.
struct EstimateRows {
  TypedRows queries;                  // [local query tokens, query_heads, head_dim]
  TypedRows keys;                     // [local key tokens, key_heads, head_dim]
  std::span<const Range> query_rows;  // the global tokens that these are, ascending; all ranks' together each token once
  std::span<const Range> key_rows;
};

/// Where rows lie best for an estimate: by rank, dealt zigzag in blocks of 128, so that none of them travel but those asked for.
RowMap rows_for_estimate(std::int64_t tokens, int ranks);

/// Throws std::invalid_argument, naming choice, reason and remedy, where these choices cannot be made for this problem: a number of
/// choices that is neither 1 nor the query heads; and, of those that look at queries and keys, whatever is no plain causal
/// self-attention, or has scores with a cap, distances or sinks in them, and of all but vertical_slash dual chunk attention. Local.
void require_choices(const Problem& problem, std::span<const SparseChoice> choices);

/// problem.mask, and of it what each query head chooses (one choice for all, or one for each). The same on every rank, to the bit,
/// on any number of ranks and wherever rows lie, by instruction sets with fused multiply-adds; ranks must use one. Collective over
/// the transport; blocks; allocates. Throws std::invalid_argument on every rank: require_choices(), rows that do not fit, tables
/// that are too large.
Mask estimate_mask(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem, const EstimateRows& rows,
                   std::span<const SparseChoice> choices);

}  // namespace gyre
