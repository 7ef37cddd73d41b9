// What becomes of the product of two rows, before the mask and the softmax.
#pragma once

#include <optional>

namespace gyre {

/// s = scale q . k; with a cap, s = cap tanh(scale q . k / cap) (Gemma 2, 2408.00118). Log-sum-exp is of s.
struct ScoreRule {
  double scale = 1;
  std::optional<double> softcap{};  // above 0
};

}  // namespace gyre
