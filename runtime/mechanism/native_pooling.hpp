// Blocks of tokens that become one key and one value each (2502.11089, equation 7, with a mean in place of the network).
//
//   block = 4, stride = 2, 9 tokens      0 1 2 3 4 5 6 7 8
//                                   m=0  x x x x                 queries from 3 on see it
//                                   m=1      x x x x             from 5 on
//                                   m=2          x x x x         from 7 on; token 8 is in none
//
// A block lies where its first token does; its other rows come from whoever holds them. Gradients go back the same way: each rank
// fetches those of the blocks that its tokens are in.
#pragma once

#include <cstdint>
#include <vector>

#include "partition/mask.hpp"
#include "runtime/mechanism/estimator.hpp"

namespace gyre {

class PooledBlocks {
 public:
  PooledBlocks(std::int64_t block, std::int64_t stride, std::int64_t tokens) : block_(block), stride_(stride), tokens_(tokens) {}

  std::int64_t count() const { return seen_by(tokens_ - 1); }
  /// Blocks that end at or before the query: the first so many.
  std::int64_t seen_by(std::int64_t query) const { return query + 1 < block_ ? 0 : (query + 1 - block_) / stride_ + 1; }
  /// Who holds which, given who holds the tokens.
  RowMap held(const RowMap& tokens) const;
  /// seen_by() as a mask, of query tokens by blocks.
  Mask staircase() const;

  /// Of this rank's blocks, the mean of their rows as cells hold them, added from first to last: [blocks, heads, dim]. Collective.
  std::vector<float> means(const Estimator& estimator, const RowsOnRanks& rows) const;
  /// gradients: of means(), on all ranks; adds to `sum`, [this rank's tokens, heads, dim], what its tokens get of them, lower
  /// blocks first. Collective.
  void add_gradients(const Estimator& estimator, const RowsOnRanks& gradients, const RowMap& tokens, std::vector<float>& sum) const;

 private:
  Range blocks_with(Range tokens) const;

  std::int64_t block_, stride_, tokens_;
};

}  // namespace gyre
