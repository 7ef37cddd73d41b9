// How well the model foretold what the text has: -ln of the probability that it gave the next token, row by row.
#pragma once

#include <cstdint>
#include <span>

#include "bench/longbook/llama.hpp"

namespace gyre::longbook {

inline constexpr std::int32_t kNoTarget = -1;  // behind the last token of the text

/// Of the rows of the model's last forward; 0 where there is no target. targets, losses: [rows]. Some rows' logits at a time:
/// [rows, vocabulary] of a long text would not fit. Local.
void surprises(Llama& model, std::span<const std::int32_t> targets, std::span<float> losses);

/// ln sum exp(logits) - logits[target], the sum in float64.
double surprise(std::span<const float> logits, std::int32_t target);

}  // namespace gyre::longbook
