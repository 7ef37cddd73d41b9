// How the sums of one unit of keys come into the partial of some query rows, lane by lane.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/partial.hpp"

namespace gyre {
namespace {

/// How a vector of rows takes its unit in: numerator = numerator * keep + unit * take, where it saw a key.
template <class V>
struct Merge {
  typename V::Mask seen;
  typename V::Vector keep;
  typename V::Vector take;
};

/// Takes a unit's sum into the partial's by Kahan's compensated addition: `lost` carries what the additions before have rounded
/// away, so that the error does not grow with the number of units (of equal addends it would, with every unit). Rows that saw
/// nothing are left alone: adding 0 to -0 would change it, and so may what was lost. Where every row saw a key nobody asks.
template <class V, bool AllSeen = false>
GYRE_INLINE void fold(float* total, float* lost, const Merge<V>& merge, typename V::Vector unit) {
  const auto before = V::load(total);
  const auto lost_before = V::load(lost);
  const auto kept = V::fma(before, merge.keep, V::zero());
  const auto taken = V::fma(lost_before, merge.keep, V::fma(unit, merge.take, V::zero()));
  const auto after = V::add(kept, taken);
  const auto lost_after = V::sub(taken, V::sub(after, kept));
  V::store(total, AllSeen ? after : V::select(merge.seen, after, before));
  V::store(lost, AllSeen ? lost_after : V::select(merge.seen, lost_after, lost_before));
}

/// Brings the partial's maximum and, in the two strips behind it, sum up to date. Factors are powers of two, so products with them
/// are exact (barring underflow), and a row that saw nothing has factors 1 and 0.
template <class V>
GYRE_INLINE Merge<V> merge_sums(float* maximum_at, typename V::Vector maximum, typename V::Vector sum) {
  const auto before = V::load(maximum_at);
  const auto after = V::max(before, maximum);
  const auto one = V::set1(1.0F);
  const Merge<V> merge{V::greater(maximum, V::set1(kEmptyMaximum)), V::scale(one, V::sub(before, after)),
                       V::scale(one, V::sub(maximum, after))};
  V::store(maximum_at, after);
  fold<V>(maximum_at + kStrip, maximum_at + 2 * kStrip, merge, sum);
  return merge;
}

}  // namespace
}  // namespace gyre
