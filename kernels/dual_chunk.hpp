// Dual chunk attention (An et al., 2402.17463, as ChunkLlama's code has it): rotary positions that no model has to be trained for.
//
// The key axis is cut into chunks of L = chunk - local tokens. A key at t is turned as if it stood at a = t mod L. So is a query,
// for keys of its own chunk; for those of the chunk before, as if it stood at min(a + L, chunk), which is its true distance up to a
// = local; for all that are farther, at min(2L - 1, chunk). No two tokens are ever taken to be farther apart than `chunk`.
//
//   chunk 8, local 3: L = 5              key   0  1  2  3  4 | 0  1  2  3  4 | 0  1  2  3  4
//                                 query   11 is at 8 (inter) | at 6 (succ.)  | at 1 (intra)
//
// Queries are packed in three forms, keys in one. With an original length (Qwen2.5-1M, 2501.15383) scores grow by m^2, m = 1 +
// max(0, 0.1 ln(key tokens / original)).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/rotary.hpp"
#include "partition/units.hpp"

namespace gyre {

inline constexpr std::int64_t kLongestChunk = std::int64_t{1} << 31;

struct DualChunk {
  std::int64_t chunk = 0;  // S: three quarters of the length that the model was trained for
  std::int64_t local = 0;  // w: an eighth of it, or (Qwen) a sixteenth
  std::optional<std::int64_t> original_tokens{};
  bool operator==(const DualChunk&) const = default;

  /// Throws std::invalid_argument naming value, limit and remedy.
  void validate() const;
  std::int64_t length() const { return chunk - local; }  // L
  /// Of tokens from a position of the key axis on, all of one chunk.
  Stretch keys(std::int64_t position) const;
  std::array<Stretch, kMostForms> queries(std::int64_t position) const;
  double temperature(std::int64_t key_tokens) const;  // m
};
/// "8192 less 1024 tokens", "8192 less 1024 tokens, from 32768".
std::string to_string(const DualChunk& dual_chunk);

/// Which form of a query a key sees: 0 for keys of its own chunk, 1 of the chunk before, 2 of those before that. length: of chunks;
/// 0: there are none. A key of a later chunk is never seen.
constexpr int form_of(std::int64_t query, std::int64_t key, std::int64_t length) {
  if (length == 0) return 0;
  return static_cast<int>(std::clamp<std::int64_t>(floor_divide(query, length) - floor_divide(key, length), 0, kMostForms - 1));
}

}  // namespace gyre
