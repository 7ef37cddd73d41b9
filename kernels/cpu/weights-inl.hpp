// From scores to weights, and the numbers that decide which sums are added up in which order.
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/dropout.hpp"
#include "kernels/partial.hpp"

namespace gyre {
namespace {

constexpr int kPanel = 8;  // keys that are skipped, masked or taken as they are, together

/// Longest chains of multiply-adds, over dims of a score and over keys of a product; a sum over more is put together from several.
/// Rounding errors grow with the length of a chain and with the sum that it carries: scores of head dim 576 from one chain are
/// off by 2.5 times as much. Where all addends are equal, every rounding errs to the same side: one chain of 512 keys is then off
/// by 40 units in the last place, chains of 32 by 4.
/// Pairs of bf16 have coarser errors than that: chains of theirs are kPair times as many words.
constexpr int kChainDims = 32;
constexpr int kChainKeys = 32;

/// Words of queries and keys, and rows of words of values and weights, that one chain takes.
template <class V>
constexpr int score_words() {
  return kChainDims * V::kPair;
}
template <class V>
constexpr int chain_rows() {
  return kChainKeys * V::kPair;
}

/// 2^f for f in [-0.5, 0.5]: minimax of degree 5 under the condition that 2^0 is exactly 1. Largest relative error 9.6e-8 exact,
/// 1.8e-7 in fp32 (the test "exp2 of a fraction ..." measures it again).
template <class V>
GYRE_INLINE typename V::Vector exp2_of_fraction(typename V::Vector f) {
  auto p = V::set1(0.0013290341F);
  p = V::fma(p, f, V::set1(0.0096719861F));
  p = V::fma(p, f, V::set1(0.0555066168F));
  p = V::fma(p, f, V::set1(0.240222305F));
  p = V::fma(p, f, V::set1(0.693147004F));
  return V::fma(p, f, V::set1(1.0F));
}

/// cap tanh(s / cap) in log2 units, from w = 2 log2(e) s / cap, for `cap` in log2 units:
///
///   tanh(s / cap) = e / (e + 2) with e = 2^w - 1 = 2^n (2^f - 1) + (2^n - 1), n whole and f in [-0.5, 0.5]
///
/// (2^f - 1) / f is minimax of degree 5 (2.1e-8 with its coefficients in fp32), so e is right to a few units in the last place
/// also where it is near 0, and so is tanh. Beyond 26 tanh rounds to 1; the clamp is further out. Of w's own relative error no more
/// than all arrives, since u tanh'(u) <= tanh(u): the cap never makes a score's relative error larger (the test "capped scores ..."
/// measures 2.2e-7).
template <class V>
GYRE_INLINE typename V::Vector capped(typename V::Vector w, typename V::Vector cap) {
  constexpr float kSaturated = 30;
  w = V::max(V::set1(-kSaturated), V::min(V::set1(kSaturated), w));  // in this order NaN stays NaN
  const auto whole = V::round(w);
  const auto f = V::sub(w, whole);
  auto p = V::set1(0.0001540351223F);
  p = V::fma(p, f, V::set1(0.001339073526F));
  p = V::fma(p, f, V::set1(0.009618237615F));
  p = V::fma(p, f, V::set1(0.05550357327F));
  p = V::fma(p, f, V::set1(0.2402264923F));
  p = V::fma(p, f, V::set1(0.6931471825F));
  const auto power = V::scale(V::set1(1.0F), whole);
  const auto e = V::fma(power, V::mul(p, f), V::sub(power, V::set1(1.0F)));
  return V::mul(V::div(e, V::add(e, V::set1(2.0F))), cap);
}

/// A score with ALiBi's bias (ScoreTerms): distances are the row's less the key's, both from the unit's first key.
template <class V>
GYRE_INLINE typename V::Vector biased(typename V::Vector score, typename V::Vector slope, typename V::Vector distance) {
  return V::fma(slope, V::abs(distance), score);
}

/// What weights are multiplied by (dropout.hpp): 0, or what kept ones are. key: its position times kKeyStep.
template <class V>
GYRE_INLINE typename V::Vector kept(typename V::Integers first, typename V::Integers second, typename V::Integers key,
                                    const DropoutTerms& dropout) {
  auto x = V::template folded<16>(V::add_integers(first, key));
  x = V::add_integers(V::mul_integers(x, V::integer(kMix1)), second);
  x = V::mul_integers(V::template folded<15>(x), V::integer(kMix2));
  return V::select(V::below(x, dropout.threshold), V::zero(), V::set1(dropout.kept));
}

/// Of rows in lanes, from `lane` on, against key `key` of the unit.
template <class V>
GYRE_INLINE typename V::Vector kept_rows(const DropoutTerms& dropout, int lane, int key) {
  const std::uint32_t step = static_cast<std::uint32_t>(key) * kKeyStep;
  return kept<V>(V::load_integers(dropout.first + lane), V::load_integers(dropout.second + lane), V::integer(dropout.key + step),
                 dropout);
}

/// The maximum of a unit from its largest score: a whole number, with one zero only (of 0 and -0 the order would decide).
template <class V>
GYRE_INLINE typename V::Vector whole_maximum(typename V::Vector score) {
  return V::max(V::add(V::round(score), V::zero()), V::set1(kEmptyMaximum));
}

/// Beyond this distance from its maximum a score's weight, which is at least 0.7 times a power of two, may be denormal.
[[maybe_unused]] constexpr float kLeastNormalWeight = -124;

/// 2^(score - maximum) for a whole maximum. The score is split into integer and fraction before the maximum is subtracted, so
/// weights of the same score under different maxima differ by an exact power of two. Normal: the score is within
/// kLeastNormalWeight of the maximum.
template <class V, bool Normal = false>
GYRE_INLINE typename V::Vector weight_of(typename V::Vector score, typename V::Vector maximum) {
  const auto whole = V::round(score);
  const auto power = exp2_of_fraction<V>(V::sub(score, whole));
  if constexpr (Normal && V::kScalesNormal)
    return V::scale_normal(power, V::sub(whole, maximum));
  else
    return V::scale(power, V::sub(whole, maximum));
}

}  // namespace
}  // namespace gyre
