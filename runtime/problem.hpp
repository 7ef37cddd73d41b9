// What is computed, and how the caller wants it done. Both are the same on every rank; `Attention` checks that they are.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "kernels/attend.hpp"
#include "kernels/cell.hpp"
#include "kernels/dual_chunk.hpp"
#include "kernels/rotary.hpp"
#include "partition/mask.hpp"
#include "partition/placement.hpp"
#include "runtime/machine.hpp"
#include "runtime/strategy.hpp"

namespace gyre {

/// Limits, of the library and of the command.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 31;  // so that visible pairs fit in 64 bits
inline constexpr int kMostHeads = std::numeric_limits<decltype(CellRun::heads)>::max();
inline constexpr int kLargestDim = 576;
inline constexpr double kLargestScale = 1e6, kLeastSoftcap = 1e-6, kLargestSoftcap = 1e6;  // within which nothing overflows
inline constexpr double kLargestDropout = 0.999;                                           // of probabilities
inline constexpr int kMostThreads = 1024;                                                  // of a rank
inline constexpr int kMostPrefetch = 4;

/// What scores lose by distance: nothing, or ALiBi's slope of each query head (kernels/score.hpp).
enum class PositionBias : std::uint8_t { none, alibi };
/// Whether a learned logit of each query head joins the softmax, with a value of 0 (gpt-oss). Logits are operands of calls.
enum class SinkLogits : std::uint8_t { none, learned };

/// Attention of query_tokens x query_heads rows over key_tokens keys, all ranks together.
struct Problem {
  std::int64_t query_tokens = 0;
  std::int64_t key_tokens = 0;
  int query_heads = 1;
  int key_heads = 1;  // a divisor of query_heads; query head h reads key/value head h / (query_heads / key_heads)
  int head_dim = 64;
  int value_dim = 64;
  std::optional<std::int64_t> query_offset;  // position of query 0 on the key axis; by default the last query meets the last key
  std::optional<double> scale;               // of scores, before the softmax; by default 1 / sqrt(head_dim)
  std::optional<double> softcap;             // scores become softcap tanh(score / softcap), before mask and softmax
  PositionBias bias = PositionBias::none;    // of scores with their cap
  SinkLogits sinks = SinkLogits::none;
  std::optional<Rotary> rotary;         // queries and keys come unturned: positions on the key axis turn them
  std::optional<DualChunk> dual_chunk;  // those, chunk by chunk (kernels/dual_chunk.hpp); the mask is causal beside what it is
  std::optional<Dropout> dropout;       // of weights, the same pairs on any number of ranks (kernels/dropout.hpp)
  Type type = Type::f32;                // what cells hold and the wire carries; partials and arithmetic are fp32
  Mask mask;

  /// Throws std::invalid_argument naming value, limit and remedy.
  void validate() const;
  int group() const { return query_heads / key_heads; }
  int query_forms() const { return dual_chunk ? kMostForms : 1; }
  CellShape cell_shape() const {
    return {.head_dim = head_dim, .value_dim = value_dim, .group = group(), .type = type, .forms = query_forms()};
  }
  double score_scale() const;  // with the temperature of dual chunk attention
  ScoreRule score_rule() const;
  std::int64_t first_query_position() const { return query_offset.value_or(key_tokens - query_tokens); }
  Bands bands() const;
  /// Visible pairs, summed over query heads.
  double visible_pairs() const;
  bool self_attention() const { return query_tokens == key_tokens && first_query_position() == 0; }
};

/// Whether ranks of a node read each other's cells where they lie. automatic: where the node's shared memory has room for them.
enum class Sharing : std::uint8_t { automatic, off };
Sharing parse_sharing(const std::string& text);  // auto or off; throws std::invalid_argument

/// Whether gradients can be asked for, and what travels for them: keys and values with their gradients, or (BurstAttention,
/// 2403.09347) queries, gradients of outputs and row statistics with the gradients of queries, while keys stay. automatic:
/// whichever is predicted to take less time. It changes no result but by rounding.
enum class Backward : std::uint8_t { none, automatic, keys_travel, queries_travel };
Backward parse_backward(const std::string& text);  // auto, keys or queries; throws std::invalid_argument
std::string to_string(Backward backward);

struct Options {
  PartitionChoice partition;
  StrategyChoice strategy;
  std::int64_t unit_tokens = 0;  // 0: the default rule for each axis. It fixes the bits of the result.
  Backward backward = Backward::none;
  int threads = 1;                // of this rank; ranks may differ
  std::string isa;                // of the CPU kernels; empty: the best
  double deadline_seconds = 600;  // without a sign of life from a rank that is waited for; 0: none (comm/heartbeat.hpp)
  int prefetch = 1;               // stages whose cells may be arriving while one is attended, 1 to kMostPrefetch
  /// Keys of one step travel in pieces of at least so many bytes on average, at most 16 in all steps of a call, each way
  /// (schedules/circulate.hpp): a message costs some handshakes, nothing beside this many bytes.
  std::int64_t piece_bytes = 256 << 10;
  Sharing sharing = Sharing::automatic;        // it changes no bit of the result
  Machine machine = default_machine();         // by which an automatic strategy is chosen; of any other it changes nothing
  Integrity integrity = Integrity::unchecked;  // checksums behind cells, compared where they arrive

  /// Throws std::invalid_argument naming value, limit and remedy.
  void validate() const;
};

}  // namespace gyre
