// What a row has accumulated so far, and the numbers that stand for nothing.
#pragma once

namespace gyre {

/// The maximum of a row that has seen no key: integral, below every score, and finite so that differences are never NaN.
inline constexpr float kEmptyMaximum = -1e30f;
/// A score that is not visible. Further below, so that its power of two is exactly 0 beside kEmptyMaximum too.
inline constexpr float kMaskedScore = -3e38f;
/// The log-sum-exp, in log2 units, of a row that sees no key, where a gradient is sought: so large that its weights are exactly 0.
inline constexpr float kBlindLogSumExp = 1e30f;

}  // namespace gyre
