// A unit's keys and values in the forms that a backward pass reads (GradientTile): laid out once for each (unit, task).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gyre {

/// V in fp32, from blocks [value_dim / 8][keys][8] to strips [keys / 16][value_dim][16]. keys: a multiple of 16.
void strips_of_values(const float* blocks, std::int64_t keys, int value_dim, float* strips);

/// K in bf16, from words of dims [keys / 16][dims / 2][16][2] to words of keys [keys / 16][dims][8][2]. dims: even.
void pair_keys(const std::byte* key, std::int64_t keys, std::int64_t dims, float* words);

/// V in bf16, from words of keys in blocks [value_dim / 8][keys / 2][8][2] to words of channels [keys / 16][value_dim / 2][16][2],
/// value_dim rounded up; what lies past the end is what the cell has there.
void pair_channels(const std::byte* value, std::int64_t keys, int value_dim, float* words);

}  // namespace gyre
