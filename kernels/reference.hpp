// The float64 reference: attention as its definition says, one row at a time. Everything is checked against it.
//
//   s_j = scale q . k_j over visible j (with a cap: cap tanh(scale q . k_j / cap); with a slope: less slope |i - j|)
//   lse = ln sum_j exp(s_j) (with a sink: of its logit too);   out = sum_j z_j exp(s_j - lse) v_j, z_j = 1 but for dropout
//
// and its gradients, which finite differences of it confirm in tests/kernels/test_reference_gradients.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/score.hpp"
#include "kernels/tensor.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// One query row of one head over some set of keys; partials over disjoint sets merge.
struct ReferencePartial {
  double maximum;            // of scores, natural units; minus infinity if no key was seen
  double sum = 0;            // of exp(s - maximum)
  double bias = 0;           // sum of exp(s - maximum) |bias|
  double lost = 0;           // sum of z |v|'s largest channel: of each weight less than the least number of fp32 may be lost
  double largest_score = 0;  // of |s - bias|, or slope of the cap x 2 sqrt(sum over dims of (scale q_d k_d)^2) where that is less
  std::vector<double> numerator;  // [value_dim] sum of z exp(s - maximum) v
  std::vector<double> magnitude;  // [value_dim] sum of z exp(s - maximum) |v|
  std::vector<double> biased;     // [value_dim] sum of z exp(s - maximum) |v| |bias|

  explicit ReferencePartial(int value_dim);
  void merge(const ReferencePartial& other);
  void take_sink(double logit);   // a key of value 0 and this score: once, after all keys
  double out(int channel) const;  // 0 if no key was seen
  double lse() const;
  /// The design's bound on the error of an fp32 result: 4 eps sum_j p_j |v_j| (1 + max_j |s_j|), eps = 2^-23. A score whose
  /// products cancel keeps their rounding errors, which no fp32 sum avoids: it counts as twice what products of random sign add up
  /// to. With a cap s is the capped score. Relative errors pass through a cap undiminished at most (u tanh'(u) <= tanh(u)), and
  /// those of products that cancel times its slope. A bias is off by a share of itself, and with it the key's own weight: it counts
  /// with its mean, in the numerator and in the denominator (distant keys have large ones, and weigh nothing). Where the largest
  /// weights are dropped, or meet zeros, what the others lose below the least number of fp32 is seen: as much counts for each.
  /// Weights of bf16 cells may be rounded to bf16 before they meet the values (kernels/README.md): half a unit in the last place of
  /// 8 bits more for each, and products below 2^-126 lost.
  double out_bound(int channel, Type cells = Type::f32) const;
  double lse_bound() const;  // 4 eps (1 + max_j |s_j| + mean |bias|) + eps |lse|: the result itself is rounded
};

/// query: [head_dim]. keys, values: rows of which `head` is read; row r stands at position keys_begin + r. query_head: for bands
/// and slopes that tell query heads apart.
ReferencePartial reference_partial(const float* query, std::int64_t query_position, TypedRows keys, TypedRows values, int head,
                                   std::int64_t keys_begin, const ScoreRule& rule, const Bands& bands, int query_head = 0);

/// Likewise of dual chunk attention: forms[f] is the query in form f, which is what the keys see of which form_of says so
/// (dual_chunk.hpp). chunk_tokens: 0 for one form.
ReferencePartial reference_partial(std::span<const float* const> forms, std::int64_t chunk_tokens, std::int64_t query_position,
                                   TypedRows keys, TypedRows values, int head, std::int64_t keys_begin, const ScoreRule& rule,
                                   const Bands& bands, int query_head = 0);

/// A query row of one head whose forward pass is known, and how far what is known of it may be off.
struct ReferenceRow {
  std::vector<float> query, grad_out;
  std::int64_t position = 0;
  int head = 0;
  double lse = 0;
  double product = 0;        // D = grad_out . out
  double product_error = 0;  // of D
  double weight_error = 0;   // relative, of each weight
};

/// What a row and a key that it sees give each other: weight grad_out to the value's gradient, slope query to the key's, slope key
/// to the query's. Errors as below.
struct ReferencePair {
  double weight = 0, weight_error = 0;  // what dropout leaves of p
  double slope = 0, slope_error = 0;    // scale ds
};
ReferencePair reference_pair(const ReferenceRow& row, std::int64_t position, const std::vector<float>& key,
                             const std::vector<float>& value, const ScoreRule& rule, Type rounded = Type::f32);

/// A tensor [tokens, heads, dim] of gradients, and how far fp32 results may be off.
struct ReferenceGradient {
  std::vector<double> value;
  std::vector<double> bound;
};

/// With p_ij = exp(s_ij - lse_i), D_i = grad_out_i . out_i and ds_ij = p_ij (z_ij grad_out_i . v_j - D_i) slope of the cap:
///   grad_value_j = sum_i z_ij p_ij grad_out_i, grad_key_j = scale sum_i ds_ij q_i, grad_query_i = scale sum_j ds_ij k_j
///
/// Bounds, with e = 4 eps and E_i = e (1 + max_j |s_ij|) + eps |lse_i| (scores as in ReferencePartial): a weight is off by p (E +
/// L), where L is the error of lse_i, itself E at most; ds by p (E + L + e) |dp - D| for its weight, p times the errors of dp and D
/// (e times their size, where products that cancel count twice, and for D |grad_out| times the error of out), and with a cap p |dp
/// - D| e (2 + 2 |s| / cap) for its slope; with a bias E counts it as its own key's, and L its mean; the sums by e times those of
/// their addends' sizes. Weights p and slopes ds of bf16 cells may be rounded to bf16 before they meet rows: half a unit in the
/// last place of 8 bits more for each, and products below 2^-126 lost. Of sinks: grad_sink_h = - sum over rows i of head h of
/// exp(sink_h - lse_i) D_i, off by what lse_i and D_i are, and by its rounding.
struct ReferenceGradients {
  std::vector<double> out, lse;  // of the forward pass: [query tokens, query heads, value_dim], [query tokens, query heads]
  ReferenceGradient query, key, value;
  ReferenceGradient further[2];  // of queries in their second and third form, where they have some
  ReferenceGradient sinks;       // [query heads], or empty
};

/// Of dual chunk attention: queries in their second and third form.
struct ReferenceForms {
  TypedRows further[2];
  std::int64_t chunk_tokens = 0;
};

/// Rows of queries and grad_out stand from position queries_begin on, those of keys and values from keys_begin on. saved: bf16 if
/// the forward pass may have rounded its weights to that (ReferencePartial::out_bound). rounded: bf16 if the backward pass may
/// have. sinks: logits of the query heads, or none.
ReferenceGradients reference_gradients(TypedRows queries, TypedRows keys, TypedRows values, TypedRows grad_out,
                                       std::int64_t queries_begin, std::int64_t keys_begin, const ScoreRule& rule,
                                       const Bands& bands, Type saved = Type::f32, Type rounded = Type::f32,
                                       std::span<const float> sinks = {}, const ReferenceForms& forms = {});

}  // namespace gyre
