// XAttention (2503.16428): blocks of 128 x 128 pairs, chosen by sums along antidiagonals.
//
// The keys of S neighbouring tokens stand behind one another as one long vector, and so do the queries, in reverse order. The
// product of two such vectors is the sum along one antidiagonal of their S x S pairs, which every row and every column of the
// square has a pair of:
//
//   S = 3     q2 q1 q0         logit(a, b) = scale / S (q2 k0 + q1 k1 + q0 k2)      of groups a (queries), b (keys)
//             k0 k1 k2
//
// Group b is visible to group a if b <= a; a softmax over b gives weights, and a block's mass is their sum. A row of blocks keeps
// the first block of the sequence and its own, and then adds others by falling mass until it holds the threshold's share of the
// total.
#pragma once

#include <span>

#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/sparse_choice.hpp"

namespace gyre {

/// Rows that the last group lacks count as zeros. Ties to the lower block. A rank works on query blocks dealt zigzag, whatever it
/// holds; keys come to it in pieces of kPiece tokens, and the logits of a piece are gone when it is: what stays of a head are the
/// sums of blocks, tokens^2 / (S x 128) floats, divided by the ranks (and by 2: causal). Collective.
BlockTable select_xattention(const Estimator& estimator, const XAttention& choice, std::span<const int> heads);

}  // namespace gyre
