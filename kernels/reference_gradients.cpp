#include <algorithm>
#include <cmath>

#include "kernels/convert.hpp"
#include "kernels/dropout.hpp"
#include "kernels/dual_chunk.hpp"
#include "kernels/reference.hpp"

namespace gyre {
namespace {

constexpr double kErrorUnit = 4 * 0x1p-23;  // as in reference.cpp, and so is the next one
constexpr double kDeviations = 2;
constexpr double kEpsilon = 0x1p-23;
constexpr double kBf16Rounding = 0x1p-8;
constexpr double kBf16Lost = 0x1p-126;  // of a number, or of a product

std::vector<float> row_of(TypedRows rows, std::int64_t token, int head) {
  std::vector<float> row(rows.dim);
  convert(rows.row(token, head), rows.type, row.data(), Type::f32, rows.dim);
  return row;
}

/// A sum of products, and its size: what it is, or what products of random sign add up to.
struct Product {
  double value = 0;
  double size = 0;
};
Product multiply(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0, squares = 0;
  for (std::size_t c = 0; c < a.size(); ++c) {
    const double product = static_cast<double>(a[c]) * static_cast<double>(b[c]);
    sum += product, squares += product * product;
  }
  return {sum, std::max(std::abs(sum), kDeviations * std::sqrt(squares))};
}

/// What the sum of its products may have lost.
double lost(const std::vector<float>& row) {
  return kBf16Lost * static_cast<double>(row.size());
}

void add(ReferenceGradient& to, std::int64_t row, const std::vector<float>& vector, double factor, double factor_error,
         Type rounded) {
  const std::size_t begin = static_cast<std::size_t>(row) * vector.size();
  for (std::size_t c = 0; c < vector.size(); ++c) {
    const double number = static_cast<double>(vector[c]);
    to.value[begin + c] += factor * number;
    to.bound[begin + c] += (factor_error + kErrorUnit * std::abs(factor)) * std::abs(number);
    if (rounded == Type::bf16) to.bound[begin + c] += kBf16Lost;
  }
}

ReferenceGradient zeros(std::size_t count) {
  return {.value = std::vector<double>(count), .bound = std::vector<double>(count)};
}
ReferenceGradient zeros(TypedRows rows) {
  return zeros(static_cast<std::size_t>(rows.tokens * rows.heads * rows.dim));
}

/// What a row adds to the gradient of its head's sink.
void add_to_sink(ReferenceGradient& to, int head, double sink, const ReferenceRow& row, double lse_error) {
  const double weight = std::exp(sink - row.lse);
  to.value[head] -= weight * row.product;
  to.bound[head] += weight * (lse_error * std::abs(row.product) + row.product_error);
}

}  // namespace

ReferencePair reference_pair(const ReferenceRow& row, std::int64_t position, const std::vector<float>& key,
                             const std::vector<float>& value, const ScoreRule& rule, Type rounded) {
  const Product product = multiply(row.query, key), gradient = multiply(row.grad_out, value);
  double score = rule.scale * product.value, steepness = 1, steepness_error = 0;
  if (rule.softcap) {
    const double share = std::tanh(score / *rule.softcap);
    score = *rule.softcap * share, steepness = 1 - share * share;
    steepness_error = kErrorUnit * (2 + 2 * std::abs(rule.scale) * product.size * steepness / *rule.softcap);
  }
  const double bias_slope = rule.slopes.empty() ? 0.0 : rule.slopes[static_cast<std::size_t>(row.head)];
  const double bias = -bias_slope * static_cast<double>(std::abs(row.position - position));
  ReferencePair pair{.weight = std::exp(score + bias - row.lse)};
  const double weight_error = row.weight_error + kErrorUnit * std::abs(bias);
  const double left = rule.dropout ? dropout_factor(*rule.dropout, row.position, position, row.head) : 1;
  const double difference = left * gradient.value - row.product;
  const double scaled = std::abs(rule.scale) * pair.weight;
  pair.slope = rule.scale * pair.weight * difference * steepness;
  pair.slope_error =
      scaled *
      (steepness * ((weight_error + kErrorUnit) * std::abs(difference) + kErrorUnit * left * gradient.size + row.product_error) +
       steepness_error * std::abs(difference));
  pair.weight *= left, pair.weight_error = pair.weight * weight_error;
  if (rounded == Type::bf16) {
    pair.weight_error += kBf16Rounding * pair.weight + kBf16Lost;
    pair.slope_error += kBf16Rounding * std::abs(pair.slope) + scaled * left * lost(value) + kBf16Lost;
  }
  return pair;
}

ReferenceGradients reference_gradients(TypedRows queries, TypedRows keys, TypedRows values, TypedRows grad_out,
                                       std::int64_t queries_begin, std::int64_t keys_begin, const ScoreRule& rule,
                                       const Bands& bands, Type saved, Type rounded, std::span<const float> sinks,
                                       const ReferenceForms& forms) {
  ReferenceGradients gradients{.out = {},
                               .lse = {},
                               .query = zeros(queries),
                               .key = zeros(keys),
                               .value = zeros(values),
                               .further = {zeros(forms.further[0]), zeros(forms.further[1])},
                               .sinks = zeros(sinks.size())};
  const int form_count = forms.chunk_tokens == 0 ? 1 : kMostForms;
  const TypedRows rows_of_forms[kMostForms] = {queries, forms.further[0], forms.further[1]};
  ReferenceGradient* const query_gradients[kMostForms] = {&gradients.query, &gradients.further[0], &gradients.further[1]};
  const int group = queries.heads / keys.heads;
  for (std::int64_t token = 0; token < queries.tokens; ++token) {
    for (int query_head = 0; query_head < queries.heads; ++query_head) {
      const int key_head = query_head / group;
      ReferenceRow row{.query = row_of(queries, token, query_head),
                       .grad_out = row_of(grad_out, token, query_head),
                       .position = queries_begin + token,
                       .head = query_head};
      std::vector<float> query_rows[kMostForms];
      const float* query_forms[kMostForms] = {};
      for (int form = 0; form < form_count; ++form) {
        query_rows[form] = row_of(rows_of_forms[form], token, query_head);
        query_forms[form] = query_rows[form].data();
      }
      ReferencePartial forward = reference_partial(query_forms, forms.chunk_tokens, queries_begin + token, keys, values, key_head,
                                                   keys_begin, rule, bands, query_head);
      if (!sinks.empty()) forward.take_sink(static_cast<double>(sinks[query_head]));
      row.lse = forward.lse();
      double squares = 0;
      for (int c = 0; c < values.dim; ++c) {
        const double product = static_cast<double>(row.grad_out[c]) * forward.out(c);
        row.product += product, squares += product * product;
        row.product_error += std::abs(static_cast<double>(row.grad_out[c])) * forward.out_bound(c, saved);
        gradients.out.push_back(forward.out(c));
      }
      gradients.lse.push_back(row.lse);
      row.product_error += kErrorUnit * std::max(std::abs(row.product), kDeviations * std::sqrt(squares));
      row.weight_error = kErrorUnit * (1 + forward.largest_score) + kEpsilon * std::abs(row.lse) + forward.lse_bound();
      if (!sinks.empty()) {
        add_to_sink(gradients.sinks, query_head, static_cast<double>(sinks[query_head]), row, forward.lse_bound());
      }
      for (std::int64_t key = 0; key < keys.tokens; ++key) {
        if (!bands.visible(queries_begin + token, keys_begin + key, query_head)) continue;
        const std::vector<float> key_row = row_of(keys, key, key_head);
        const int form = form_of(queries_begin + token, keys_begin + key, forms.chunk_tokens);
        row.query = query_rows[form];
        const ReferencePair pair = reference_pair(row, keys_begin + key, key_row, row_of(values, key, key_head), rule, rounded);
        add(*query_gradients[form], token * queries.heads + query_head, key_row, pair.slope, pair.slope_error, rounded);
        add(gradients.key, key * keys.heads + key_head, row.query, pair.slope, pair.slope_error, rounded);
        add(gradients.value, key * keys.heads + key_head, row.grad_out, pair.weight, pair.weight_error, rounded);
      }
    }
  }
  for (std::size_t head = 0; head < sinks.size(); ++head) {
    gradients.sinks.bound[head] += kEpsilon * std::abs(gradients.sinks.value[head]);
  }
  return gradients;
}

}  // namespace gyre
