// How GGUF stores numbers: in blocks of a few elements that share a scale (ggml's quantisations), or one by one.
//
//   Q4_0  x = d (q - 8)        Q5_0  x = d (q - 16)       Q8_0  x = d q            32 elements
//   Q4_1  x = d q + m          Q5_1  x = d q + m
//   Q4_K, Q5_K  x = d s q - e t        Q6_K  x = d s (q - 32)                      256 elements; s, t: scales of 16 or 32 of them
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gyre::longbook {

struct BlockFormat {
  std::uint32_t id;  // in a file
  const char* name;
  int elements;  // of a block
  int bytes;
  /// from: [blocks, bytes], of any alignment; to: [blocks, elements].
  void (*expand)(const std::byte* from, std::int64_t blocks, float* to);
};

/// Null for what is not read.
const BlockFormat* find_block_format(std::uint32_t id);

/// Of all that are read: "F32, F16, ...".
std::string block_format_names();

}  // namespace gyre::longbook
