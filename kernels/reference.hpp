// The float64 reference: attention as its definition says, one row at a time. Everything is checked against it.
//
//   s_j = scale q . k_j over visible j (with a cap: cap tanh(scale q . k_j / cap));   lse = ln sum_j exp(s_j);   out = sum_j
//   exp(s_j - lse) v_j
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/score.hpp"
#include "kernels/tensor.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// One query row of one head over some set of keys; partials over disjoint sets merge.
struct ReferencePartial {
  double maximum;                 // of scores, natural units; minus infinity if no key was seen
  double sum = 0;                 // of exp(s - maximum)
  double largest_score = 0;       // of |s|, or slope of the cap x 2 sqrt(sum over dims of (scale q_d k_d)^2) where s is less
  std::vector<double> numerator;  // [value_dim] sum of exp(s - maximum) v
  std::vector<double> magnitude;  // [value_dim] sum of exp(s - maximum) |v|

  explicit ReferencePartial(int value_dim);
  void merge(const ReferencePartial& other);
  double out(int channel) const;  // 0 if no key was seen
  double lse() const;
  /// The design's bound on the error of an fp32 result: 4 eps sum_j p_j |v_j| (1 + max_j |s_j|), eps = 2^-23. A score whose
  /// products cancel keeps their rounding errors, which no fp32 sum avoids: it counts as twice what products of random sign add up
  /// to. With a cap s is the capped score. Relative errors pass through a cap undiminished at most (u tanh'(u) <= tanh(u)), and
  /// those of products that cancel times its slope. Weights of bf16 cells may be rounded to bf16 before they meet the values
  /// (kernels/README.md): half a unit in the last place of 8 bits more for each, and products below 2^-126 lost.
  double out_bound(int channel, Type cells = Type::f32) const;
  double lse_bound() const;  // 4 eps (1 + max_j |s_j|) + eps |lse|: the result itself is rounded
};

/// query: [head_dim]. keys, values: rows of which `head` is read; row r stands at position keys_begin + r. query_head: for bands
/// that tell query heads apart.
ReferencePartial reference_partial(const float* query, std::int64_t query_position, TypedRows keys, TypedRows values, int head,
                                   std::int64_t keys_begin, const ScoreRule& rule, const Bands& bands, int query_head = 0);

}  // namespace gyre
