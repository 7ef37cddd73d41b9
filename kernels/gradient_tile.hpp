// What a kernel of the backward pass gets: a block of query rows against one unit of keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/dropout.hpp"

namespace gyre {

/// A block is four strips of one query cell, beginning at a multiple of four: 64 rows, of which a cell's last block may lack some
/// strips. So blocks never lie across units, and chains of a key row's gradient begin where its query units say and nowhere else.
///
/// What is multiplied lies in 32-bit words, as in Tile: an fp32 each, or a pair of bf16, and weights and slopes are then rounded to
/// that. Words are of two neighbours along what is summed over, so that queries, keys and slopes lie in two forms.
///
/// All numbers are fp32 or such words, finite, aligned to kAlignment bytes. Strips that the block lacks repeat its first one (but
/// for grad_query), with statistics of rows that see nothing.
struct GradientTile {
  static constexpr int kStrips = 4;
  static constexpr int kRows = kStrips * kStrip;
  static constexpr int kKeys = 64;  // taken at a time, so that their scores and slopes stay in the nearest cache

  struct Strip {
    const float* query;     // [words of head_dim][16]
    const float* grad_out;  // [words of value_dim][16]
    float* grad_query;      // [head_dim][total, what its additions lost][16]
  };
  Strip strips[kStrips];
  int strip_count = 0;
  int head_dim = 0;
  int value_dim = 0;
  float factor = 1;                        // scores in log2 units are factor query . key; with a cap that is 2 log2(e) score / cap
  float cap = 0;                           // in log2 units; 0: none
  float scale = 1;                         // of query . key in a score
  const float* statistics[kStrips];        // [2][16]: log-sum-exp in log2 units and grad_out . out of the rows
  int keys = 0;                            // of the unit
  std::int64_t key_strip = 0;              // words of a strip of keys: those of head_dim dims or more
  const float* key = nullptr;              // [keys / 16][key_strip]: [words of head_dim][16]
  const float* key_pairs = nullptr;        // [keys / 16][key_strip]: [head_dim][words of 16 keys]; of fp32 that is `key`
  const float* value = nullptr;            // [keys / 16][words of value_dim][16]
  const std::uint64_t* visible = nullptr;  // as in Tile
  const float* bias_slopes = nullptr;      // [64], as in Tile, and so are they
  const float* distances = nullptr;
  DropoutTerms dropout;
  // The share of one query cell in the keys' gradients; blocks add to it, fold_grad_keys takes it away. Of panels that no block has
  // seen there is none, whatever lies there.
  float* key_share = nullptr;      // [keys to 16][head_dim to 16]
  float* value_share = nullptr;    // [keys to 16][value_dim to 16]
  std::uint8_t* shared = nullptr;  // [keys / kKeys, rounded up]: a bit for each panel that has a share
  float* key_total = nullptr;      // as a grad_key_value cell has them
  float* value_total = nullptr;
  // What will be wanted next is fetched meanwhile.
  struct Piece {
    const std::byte* begin = nullptr;
    std::int64_t bytes = 0;
  };
  static constexpr int kPieces = 3;
  Piece fetch[kPieces];
  // Scratch.
  float* queries = nullptr;      // rows, head_dim to 16 wide, in columns of 64 dims: [..][words of 64 rows][64]
  float* grad_outs = nullptr;    // likewise, value_dim to 16 wide
  float* row_terms = nullptr;    // [2][64]: minus the log-sum-exp, minus scale grad_out . out
  float* scores = nullptr;       // [kKeys][64]
  float* products = nullptr;     // [kKeys][64]: grad_out . value
  float* weights = nullptr;      // [kKeys][words of 64 rows]: p; of fp32 it may be `scores`
  float* slopes = nullptr;       // [kKeys][words of 64 rows]: scale ds; of fp32 it may be `products`
  float* slope_pairs = nullptr;  // [words of kKeys][64]; of fp32 that is `slopes`
  float* grad_query = nullptr;   // [head_dim][64]: the unit's share; what fold_grad_query adds to the strips
};

}  // namespace gyre
