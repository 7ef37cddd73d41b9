// Rotary positions (Su et al., RoPE, 2104.09864): pair k of a query or key at position t is turned by t theta_k, so that a score
// depends on differences of positions alone.
//
//   (x, y) -> m (x cos t theta_k - y sin t theta_k,  x sin t theta_k + y cos t theta_k),      theta_k = base^(-2k / dims)
//
// m is 1, but for YaRN. Rows are turned where they are packed into cells, and what is finished of their gradients is turned back,
// by the transpose: m (x cos + y sin, y cos - x sin). Values are never turned.
//
// Numbers. Angles are float64. Those of powers of two are made once, in long double: t theta_k is right to 1e-9 up to 2^31. A
// unit's first position is a product of some of them, and tokens behind it follow by one complex product each (1e-16). A row is
// turned in float64 and rounded once to fp32, then to the type of cells.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace gyre {

struct KernelTable;

/// Which channels are a pair: k and k + dims / 2 (Llama, as Hugging Face has it), or 2k and 2k + 1 (as the paper has it). They
/// differ by a fixed permutation of the channels of queries and keys.
enum class RotaryLayout : std::uint8_t { half, interleaved };
/// How frequencies are stretched to longer contexts, by a scale s.
///   linear  theta_k / s (2306.15595)
///   ntk     base s^(dims / (dims - 2))
///   yarn    theta_k / s for low frequencies, theta_k for high ones, a ramp between, and m = 0.1 ln s + 1 (2309.00071)
enum class RotaryScaling : std::uint8_t { none, linear, ntk, yarn };

inline constexpr double kLargestRotaryBase = 1e15, kLargestRotaryScale = 1e6;
inline constexpr std::int64_t kLargestOriginalTokens = std::int64_t{1} << 31;
inline constexpr int kMostRotaryPairs = 288;  // what stacks have room for

struct Rotary {
  double base = 10000;  // above 1
  RotaryLayout layout = RotaryLayout::half;
  int dims = 0;  // the first so many channels are turned, an even number; 0: all
  RotaryScaling scaling = RotaryScaling::none;
  double scale = 1;                      // of the scaling, 1 or more
  std::int64_t original_tokens = 0;      // of YaRN: the length that the model was trained for
  double beta_fast = 32, beta_slow = 1;  // of YaRN: turns over that length above and below which frequencies are high and low
  bool operator==(const Rotary&) const = default;

  /// Throws std::invalid_argument naming value, limit and remedy.
  void validate(int head_dim) const;
  int turned_dims(int head_dim) const { return dims == 0 ? head_dim : dims; }
  /// theta_k, scaled, of each pair.
  std::vector<double> frequencies(int head_dim) const;
  double magnitude() const;  // m
};
/// "10000, half, all dims", "500000, interleaved, 64 dims, yarn 4 from 8192 tokens (32, 1)": with all digits.
std::string to_string(const Rotary& rotary);

/// Where consecutive tokens stand: first, first + 1, ..., and at `last` from there on.
struct Stretch {
  static constexpr std::int64_t kNoLast = std::numeric_limits<std::int64_t>::max() / 2;
  std::int64_t first = 0;
  std::int64_t last = kNoLast;

  std::int64_t position(std::int64_t token) const { return std::min(first + token, last); }
};

/// Positions are below 2^this, and above minus that.
inline constexpr int kPositionBits = 34;

/// What turning takes of a problem, made once.
class RotaryTable {
 public:
  /// kernels: the instruction set that turns rows. It must outlive this. Throws std::invalid_argument as validate does.
  RotaryTable(const Rotary& rotary, int head_dim, const KernelTable& kernels);

 private:
  friend class Turner;
  const KernelTable& kernels_;
  RotaryLayout layout_;
  double magnitude_;
  int pairs_;
  std::vector<double> cosines_, sines_;  // [kPositionBits][pairs] of 2^bit theta
};

/// Goes from token to token of a stretch, in any order, and turns their rows. On the stack; allocates nothing.
class Turner {
 public:
  /// Throws std::invalid_argument on positions out of range.
  Turner(const RotaryTable& table, const Stretch& stretch);
  /// To another token of the stretch: at little cost to one not far behind, and from its beginning to one before. Which tokens lie
  /// on the way may change what is lost to rounding.
  void go_to(std::int64_t token);
  void advance() { go_to(token_ + 1); }
  /// row: [head dim], in place.
  void turn(float* row) const;
  /// Adds the gradient, turned back, to `sum`, [head dim] both.
  void add_turned_back(const float* gradient, int head_dim, double* sum) const;

 private:
  void begin();
  void turn_by(std::int64_t distance);

  const RotaryTable& table_;
  Stretch stretch_;
  std::int64_t token_ = 0;
  alignas(64) double cosines_[kMostRotaryPairs];  // times m
  alignas(64) double sines_[kMostRotaryPairs];
};

/// The most forms in which a query lies in its cell (CellShape::forms).
inline constexpr int kMostForms = 3;

/// How the rows of a cell are turned; of queries in each of their forms.
struct Turned {
  const RotaryTable* table = nullptr;  // null: not at all
  std::array<Stretch, kMostForms> stretches{};
};

}  // namespace gyre
