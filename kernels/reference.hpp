// The float64 reference: attention as its definition says, one row at a time. Everything is checked against it.
//
//   s_j = scale q . k_j over visible j (with a cap: cap tanh(scale q . k_j / cap));   lse = ln sum_j exp(s_j);   out = sum_j
//   exp(s_j - lse) v_j
//
// and its gradients, which finite differences of it confirm in tests/kernels/test_reference_gradients.cpp.
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

/// A tensor [tokens, heads, dim] of gradients, and how far fp32 results may be off.
struct ReferenceGradient {
  std::vector<double> value;
  std::vector<double> bound;
};

/// With p_ij = exp(s_ij - lse_i), D_i = grad_out_i . out_i and ds_ij = p_ij (grad_out_i . v_j - D_i) slope of the cap:
///   grad_value_j = sum_i p_ij grad_out_i, grad_key_j = scale sum_i ds_ij q_i, grad_query_i = scale sum_j ds_ij k_j
///
/// Bounds, with e = 4 eps and E_i = e (1 + max_j |s_ij|) + eps |lse_i| (scores as in ReferencePartial): a weight is off by p (E +
/// L), where L is the error of lse_i, itself E at most; ds by p (E + L + e) |dp - D| for its weight, p times the errors of dp and D
/// (e times their size, where products that cancel count twice, and for D |grad_out| times the error of out), and with a cap p |dp
/// - D| e (2 + 2 |s| / cap) for its slope; the sums by e times those of their addends' sizes. Weights p and slopes ds of bf16 cells
/// may be rounded to bf16 before they meet rows: half a unit in the last place of 8 bits more for each, and products below 2^-126
/// lost.
struct ReferenceGradients {
  std::vector<double> out, lse;  // of the forward pass: [query tokens, query heads, value_dim], [query tokens, query heads]
  ReferenceGradient query, key, value;
};

/// Rows of queries and grad_out stand from position queries_begin on, those of keys and values from keys_begin on. saved: bf16 if
/// the forward pass may have rounded its weights to that (ReferencePartial::out_bound). rounded: bf16 if the backward pass may
/// have.
ReferenceGradients reference_gradients(TypedRows queries, TypedRows keys, TypedRows values, TypedRows grad_out,
                                       std::int64_t queries_begin, std::int64_t keys_begin, const ScoreRule& rule,
                                       const Bands& bands, Type saved = Type::f32, Type rounded = Type::f32);

}  // namespace gyre
