// What a row has accumulated so far, and the numbers that stand for nothing.
#pragma once

namespace gyre {

/// The maximum of a row that has seen no key: integral, below every score, and finite so that differences are never NaN.
inline constexpr float kEmptyMaximum = -1e30f;
/// A score that is not visible. Further below, so that its power of two is exactly 0 beside kEmptyMaximum too.
inline constexpr float kMaskedScore = -3e38f;

}  // namespace gyre
