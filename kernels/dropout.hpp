// Which weights dropout drops: a function of seed, query position, key position and query head, and of nothing else. So the same
// pairs are dropped on any number of ranks, by any schedule and tile, forward and backward, and nothing is stored or sent.
//
// The row's part is 64 bits, mixed once a row by the finalizer of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom
// number generators, OOPSLA 2014). A key's part is its position times an odd number, and what is done for each pair is the 32-bit
// finalizer "lowbias32" (Wellons, hash-prospector: constants found by search for the least bias), with half of the row's bits
// before it and half of them between its two multiplications:
//
//   x = row.first + key * kKeyStep;   x ^= x >> 16;   x *= kMix1;   x += row.second;   x ^= x >> 15;   x *= kMix2
//
// A pair is dropped if x, as a signed number, is below the threshold. Two multiplications and seven cheaper operations a vector of
// pairs; Philox 4x32-10 takes twenty multiplications of 32 by 32 bits for four. What it is held to is in
// tests/kernels/test_dropout.
#pragma once

#include <cstdint>

#include "kernels/score.hpp"

namespace gyre {

inline constexpr std::uint32_t kKeyStep = 0x9e3779b9, kMix1 = 0x7feb352d, kMix2 = 0x846ca68b;

struct DropoutRow {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
};
DropoutRow dropout_row(std::uint64_t seed, std::int64_t query_position, int query_head);

/// Of x: so that a share of `probability` of all numbers is below it, to 2^-32.
std::int32_t dropout_threshold(double probability);

/// By what a pair's weight is multiplied: 0, or 1 / (1 - probability).
double dropout_factor(const Dropout& dropout, std::int64_t query_position, std::int64_t key_position, int query_head);

/// What kernels get of it; lanes as in Tile.
struct DropoutTerms {
  const std::uint32_t* first = nullptr;  // of the lanes' rows; null: nothing is dropped
  const std::uint32_t* second = nullptr;
  std::uint32_t key = 0;  // position of the unit's first key, times kKeyStep
  std::int32_t threshold = 0;
  float kept = 1;  // what a weight that is kept is multiplied by
};

}  // namespace gyre
