// MInference's vertical-slash pattern (2407.02490, section 3 and its vertical_slash estimator).
//
// The last 64 queries of a head attend all keys, causally. What they look at, added up by key (columns) and by distance
// (diagonals), is taken for what all queries look at: the columns and the diagonals of most weight are kept.
//
//   A = softmax(scale Q_last K^T)      column j: sum over the 64 rows of A[., j]      diagonal o: sum of A[i, i - o]
//
// Here diagonals are taken in bins of 64: a slash is a bin, whole, for every query. MInference takes single diagonals and then
// computes for each 64 queries from s on the keys [s - o, s - o + 64), so that each also covers parts of its 127 neighbours, more
// for some rows of the block than for others. A budget of D diagonals is ceil(D / 64) bins; the first 30 columns and the first 100
// diagonals (2 bins) are in every selection and count in its budget.
//
// Under dual chunk attention (Qwen2.5-1M, 2501.15383) every chunk of queries chooses for itself: its last 64 queries (all, if it
// has less) look at all keys up to them, those of the chunk before as if they stood at a + L and those farther away at chunk + a:
// where attention clamps positions these go on ("critical"), so that distances within a region stay apart. The budget is each
// chunk's. A region (own chunk, the one before, those before that) without a chosen column gets 5 of its keys, evenly spaced.
#pragma once

#include <span>
#include <vector>

#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/sparse_choice.hpp"

namespace gyre {

/// Tables for all heads; those of heads that are not asked for stay empty.
struct ColumnsAndDiagonals {
  BlockTable columns;                 // a column a key, a row a chunk; one of every query where there is one chunk
  std::vector<BlockTable> diagonals;  // of a chunk each, of one row, a column a bin: (i - j) div 64
};

/// Ties to the lower column and the nearer bin. Collective.
ColumnsAndDiagonals select_vertical_slash(const Estimator& estimator, const VerticalSlash& choice, std::span<const int> heads);

}  // namespace gyre
