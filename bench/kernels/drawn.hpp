// Tables of masks that are drawn, not read: what stands where a mask names a file says how many of them are visible.
//
//   blocks(0.05,64)     that share of all blocks, at random
//   columns(1000)       so many keys, at random
//   diagonals(40,64)    so many bins: the two nearest, others at random
//   slices(64)          the queries in so many pieces, each with an eighth of the keys, somewhere; full, causal, ... in turn
//
// The same for all query heads, or for each of them others: blocks(each 0.05,64), columns(each 1000), diagonals(each 40,64).
#pragma once

#include "bench/kernels/shape.hpp"
#include "partition/mask.hpp"

namespace gyre::bench {

/// For the shape's tokens, the same every time. They throw std::invalid_argument where no number stands.
MaskFiles drawn_files(const Shape& shape);

}  // namespace gyre::bench
