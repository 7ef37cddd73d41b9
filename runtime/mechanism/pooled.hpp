// Selection by means of blocks: of a block's rows, one chain of additions from its first row to its last, wherever they lay.
#pragma once

#include <span>

#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/sparse_choice.hpp"

namespace gyre {

/// MInference's block-sparse pattern, and SeerAttention's rule with plain means: of every 64 queries the blocks of 64 keys, up to
/// the queries' own, whose means have the greatest products; ties to the lower index. The own block is not forced. The mean of a
/// short last block is that of its rows (MInference's counts zeros behind them). Rows of other heads than these stay empty.
/// Collective.
BlockTable select_block_topk(const Estimator& estimator, const BlockTopk& choice, std::span<const int> heads);

/// MoBA's gate: of every query its own block of keys and, of those before it, the blocks - 1 whose means have the greatest products
/// with the query. With one block it is the own one (the reference's efficient code is dense there, its naive code is not).
/// Collective.
BlockTable select_moba(const Estimator& estimator, const Moba& choice, std::span<const int> heads);

}  // namespace gyre
