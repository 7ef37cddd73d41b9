// What becomes of the product of two rows, before the mask and the softmax.
#pragma once

#include <optional>
#include <vector>

namespace gyre {

/// s = scale q . k; with a cap, s = cap tanh(scale q . k / cap) (Gemma 2, 2408.00118); then, with slopes, s - slope |i - j| of the
/// positions of query and key on the key axis (ALiBi, 2108.12409). Log-sum-exp is of s.
struct ScoreRule {
  double scale = 1;
  std::optional<double> softcap{};  // above 0
  std::vector<double> slopes{};     // of each query head, finite; none: no such bias
};

/// ALiBi's: 2^(-8 (h + 1) / heads) for a power of two of heads. Otherwise those of the next lower power of two come first, and then
/// every second one of twice as many.
std::vector<double> alibi_slopes(int query_heads);

}  // namespace gyre
