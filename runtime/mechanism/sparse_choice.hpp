// How a query head decides which pairs it looks at: fixed numbers of each method, as a user says them.
//
//   dense                          every pair of the mask
//   a_shape(128,4096)              the first 128 keys and the last 4,096 (MInference, 2407.02490; StreamingLLM, 2309.17453)
//   vertical_slash(1000,6096)      1,000 columns and 6,096 diagonals that the last 64 queries look at most (MInference)
//   block_topk(100)                of each 64 queries the 100 blocks of 64 keys whose means fit best (MInference, SeerAttention)
//   xattention(16,0.9)             blocks of 128 x 128 by antidiagonals at stride 16, until 0.9 of their mass is kept (2503.16428)
//   moba(512,8)                    of each query its own and 7 other blocks of 512 keys, by their means (2502.13189)
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace gyre {

struct EveryPair {
  bool operator==(const EveryPair&) const = default;
};
struct AShape {
  std::int64_t first_keys = 128;
  std::int64_t window_keys = 1024;  // the query's own among them; at least 1
  bool operator==(const AShape&) const = default;
};
struct VerticalSlash {
  static constexpr std::int64_t kQueries = 64;           // the last ones, which estimate for all
  static constexpr std::int64_t kForcedColumns = 30;     // from the first key on
  static constexpr std::int64_t kForcedDiagonals = 100;  // from the main diagonal on
  static constexpr std::int64_t kBin = 64;               // diagonals that are taken or left together
  std::int64_t columns = 1000;                           // forced ones among them
  std::int64_t diagonals = 6096;                         // likewise; rounded up to whole bins
  bool operator==(const VerticalSlash&) const = default;
};
struct BlockTopk {
  static constexpr std::int64_t kBlock = 64;
  std::int64_t blocks = 100;
  bool operator==(const BlockTopk&) const = default;
};
struct XAttention {
  static constexpr std::int64_t kBlock = 128;
  std::int64_t stride = 16;  // a divisor of kBlock
  double threshold = 0.9;    // above 0, at most 1
  bool operator==(const XAttention&) const = default;
};
struct Moba {
  std::int64_t block_tokens = 512;
  std::int64_t blocks = 8;  // the query's own among them
  bool operator==(const Moba&) const = default;
};

using SparseChoice = std::variant<EveryPair, AShape, VerticalSlash, BlockTopk, XAttention, Moba>;

/// As written above. Throws std::invalid_argument naming value, limit and remedy.
SparseChoice parse_sparse_choice(const std::string& text);
std::string to_string(const SparseChoice& choice);

/// Whether queries and keys have to be looked at; else a static mask is all of it.
bool estimates(const SparseChoice& choice);

/// One choice for all query heads, or one for each: what `--sparse` says, a choice or the name of a JSON file that lists one for
/// each head: ["dense", "moba(512,8)"]. Throws std::invalid_argument naming the file and its entry.
std::vector<SparseChoice> read_sparse_choices(const std::string& text);

}  // namespace gyre
