// Cross-entropy of the next token: loss of a row = ln sum_c exp(logit_c) - logit_target.
#pragma once

#include <cstdint>
#include <span>

namespace gyre::trainer {

inline constexpr std::int32_t kNoTarget = -1;  // the last token of a document predicts nothing

/// Sum of the rows' losses, in float64. logits: [targets, vocabulary]; in their place it leaves `scale` times the gradient of that
/// sum: scale (softmax - 1 at the target), and 0 in rows without a target.
template <class Real>
double cross_entropy(std::span<const std::int32_t> targets, int vocabulary, double scale, Real* logits);

}  // namespace gyre::trainer
