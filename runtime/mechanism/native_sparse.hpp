// Native sparse attention in numbers (NSA, Yuan et al., 2502.11089): how long blocks are, how many are selected, how wide the
// window is. What is computed with them: native_attention.hpp.
#pragma once

#include <cstdint>
#include <string>

namespace gyre {

/// Where compressed keys and values come from: means of a block's rows, or, from a network of the model's own, the caller.
enum class Compression : std::uint8_t { mean, given };

/// Lengths in tokens. The defaults are the paper's.
struct NativeSparse {
  std::int64_t block = 32;         // that is compressed; a multiple of stride
  std::int64_t stride = 16;        // from one such block to the next
  std::int64_t select_block = 64;  // a multiple of stride
  std::int64_t select_blocks = 16;
  std::int64_t first_blocks = 1;  // of these, always selected: from the sequence's first on
  std::int64_t local_blocks = 2;  // likewise, up to the query's own; at least 1
  std::int64_t window = 512;      // keys, the query's own among them
  Compression compression = Compression::mean;

  /// Throws std::invalid_argument naming value, limit and remedy.
  void validate() const;
  bool operator==(const NativeSparse&) const = default;
};
/// "compressed(32,16), selected(64,16,1,2), window(512), means".
std::string to_string(const NativeSparse& sparse);

}  // namespace gyre
