// DeepSeek Sparse Attention's selection (V3.2-Exp, the lightning indexer): of each query the keys of greatest index score,
//
//   I(i, j) = sum over index heads h of w(i, h) max(0, q(i, h) . k(j))        j <= i
//
// where index queries, the one index key of a token and the weights are the model's own small projections, given rotated and
// otherwise ready. All query heads of the attention see the same keys.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/mechanism/estimate.hpp"

namespace gyre {

/// This rank's rows, borrowed for the call.
struct IndexRows {
  TypedRows queries;                  // [local tokens, index heads, index dim]
  TypedRows keys;                     // [local tokens, 1, index dim]
  TypedRows weights;                  // [local tokens, 1, index heads], the reference's scales in them
  std::span<const Range> token_rows;  // the global tokens that these are, ascending; all ranks' together each token once
};

/// Under problem.mask, which is causal, in self-attention: the `kept` keys of greatest score of each query, all where there are
/// fewer; ties to the lower key. The same on every rank, to the bit, wherever rows lie. A table of tokens x tokens bits on every
/// rank: up to 131,072 tokens. Collective; blocks; allocates. Throws std::invalid_argument on every rank.
Mask select_indexed_keys(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem,
                         const IndexRows& rows, std::int64_t kept);

}  // namespace gyre
