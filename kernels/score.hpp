// What becomes of the product of two rows, before the mask and the softmax.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace gyre {

/// Each weight exp(s - lse) is left out of the output with this probability, and divided by 1 - probability if it is not; sums of
/// weights and log-sum-exp are those without dropout. Which ones: dropout.hpp.
struct Dropout {
  double probability = 0;  // 0 or more, and below 1
  std::uint64_t seed = 0;
};

/// s = scale q . k; with a cap, s = cap tanh(scale q . k / cap) (Gemma 2, 2408.00118); then, with slopes, s - slope |i - j| of the
/// positions of query and key on the key axis (ALiBi, 2108.12409). Log-sum-exp is of s.
struct ScoreRule {
  double scale = 1;
  std::optional<double> softcap{};  // above 0
  std::vector<double> slopes{};     // of each query head, finite; none: no such bias
  std::optional<Dropout> dropout{};
};

/// ALiBi's: 2^(-8 (h + 1) / heads) for a power of two of heads. Otherwise those of the next lower power of two come first, and then
/// every second one of twice as many.
std::vector<double> alibi_slopes(int query_heads);

}  // namespace gyre
