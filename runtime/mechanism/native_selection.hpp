// The selection of native sparse attention (2502.11089, equations 8 to 12): blocks of keys by the weights that a query gives to
// compressed keys, added over the query heads that share them.
//
//   p(m)     softmax over the compressed keys m that the query sees, summed over its group's heads
//   cell(c)  sum of p(m) over the compressed blocks m that hold the tokens [c stride, (c + 1) stride)
//   block j  sum of cell(c) over its cells: with block 32, stride 16, select_block 64, p(4j - 1 .. 4j + 3) weighted 1, 2, 2, 2, 1
#pragma once

#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/native_pooling.hpp"
#include "runtime/mechanism/native_sparse.hpp"

namespace gyre {

/// Of blocks of one query by select_block keys, for each query head (one for all where they share a key head).
BlockShape native_selection_shape(const NativeSparse& sparse, const Problem& problem);

/// Of every query and group: the first and the local blocks, and of the others up to the query's own those with the greatest sums,
/// select_blocks in all, or as many as there are; ties to the lower block. estimator.keys: the compressed ones. The same on every
/// rank, to the bit, wherever rows lie. Collective.
BlockTable select_native(const Estimator& estimator, const NativeSparse& sparse, const PooledBlocks& blocks);

}  // namespace gyre
