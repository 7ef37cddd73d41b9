#include "kernels/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/convert.hpp"
#include "kernels/dropout.hpp"
#include "kernels/dual_chunk.hpp"

namespace gyre {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kErrorUnit = 4 * 0x1p-23;  // the design's c * eps
// Roundings of a sum of products with random signs are as large as those of sums of this many times their root of squares, however
// few of them dominate: of inputs with outliers one row in 4,000 comes to 1.3 times the bound if they count once.
constexpr double kDeviations = 2;
constexpr double kLeastNumber = 0x1p-149;  // of fp32; as large as both roundings of a weight and its product below the normal ones
constexpr double kBf16Rounding = 0x1p-8;
constexpr double kBf16Lost = 0x1p-126 * 0x1p10;  // of a chain of products, over the sum of weights, which is 1/2 at least

struct Score {
  double value = 0;
  double size = 0;  // of the value, or what its products' size makes of it
};

Score score_of(const float* query, const float* key, int dim, const ScoreRule& rule) {
  double sum = 0, squares = 0;
  for (int d = 0; d < dim; ++d) {
    const double product = static_cast<double>(query[d]) * static_cast<double>(key[d]);
    sum += product;
    squares += product * product;
  }
  const double score = rule.scale * sum;
  const double size = std::abs(rule.scale) * std::max(std::abs(sum), kDeviations * std::sqrt(squares));
  if (!rule.softcap) return {score, size};
  const double cap = *rule.softcap;
  const double least = std::max(0.0, std::abs(score) - kErrorUnit * size);  // where, within the error, the cap is steepest
  const double slope = 1 - std::pow(std::tanh(least / cap), 2);
  const double capped = cap * std::tanh(score / cap);
  return {capped, std::max(std::abs(capped), slope * size)};
}

}  // namespace

ReferencePartial::ReferencePartial(int value_dim)
    : maximum(-kInfinity), numerator(value_dim), magnitude(value_dim), biased(value_dim) {}

void ReferencePartial::merge(const ReferencePartial& other) {
  if (other.sum == 0) return;
  const double together = std::max(maximum, other.maximum);
  const double keep = std::exp(maximum - together);
  const double take = std::exp(other.maximum - together);
  for (std::size_t c = 0; c < numerator.size(); ++c) {
    numerator[c] = numerator[c] * keep + other.numerator[c] * take;
    magnitude[c] = magnitude[c] * keep + other.magnitude[c] * take;
    biased[c] = biased[c] * keep + other.biased[c] * take;
  }
  sum = sum * keep + other.sum * take;
  bias = bias * keep + other.bias * take;
  maximum = together;
  lost += other.lost;
  largest_score = std::max(largest_score, other.largest_score);
}

void ReferencePartial::take_sink(double logit) {
  ReferencePartial sink(static_cast<int>(numerator.size()));
  sink.maximum = logit, sink.sum = 1;
  merge(sink);
}

double ReferencePartial::out(int channel) const {
  return sum == 0 ? 0 : numerator[channel] / sum;
}
double ReferencePartial::lse() const {
  return sum == 0 ? -kInfinity : maximum + std::log(sum);
}
double ReferencePartial::out_bound(int channel, Type cells) const {
  if (sum == 0) return 0;
  const double arithmetic = kErrorUnit * (1 + largest_score);
  const double weights = cells == Type::bf16 ? kBf16Rounding : 0, products = cells == Type::bf16 ? kBf16Lost : 0;
  const double biases = kErrorUnit * (biased[channel] + bias * (magnitude[channel] / sum)) / sum + kLeastNumber * (1 + lost / sum);
  return (arithmetic + weights) * (magnitude[channel] / sum) + biases + products;
}
double ReferencePartial::lse_bound() const {
  return sum == 0 ? 0 : kErrorUnit * (1 + largest_score + bias / sum) + std::numeric_limits<float>::epsilon() * std::abs(lse());
}

ReferencePartial reference_partial(const float* query, std::int64_t query_position, TypedRows keys, TypedRows values, int head,
                                   std::int64_t keys_begin, const ScoreRule& rule, const Bands& bands, int query_head) {
  std::vector<float> key(keys.dim), value(values.dim);
  std::vector<std::int64_t> seen;
  std::vector<double> scores, biases;
  std::vector<Range> touched;
  bands.keys_touched({query_position, query_position + 1}, {keys_begin, keys_begin + keys.tokens}, touched);
  ReferencePartial partial(values.dim);
  for (const Range range : touched) {
    for (std::int64_t position = range.begin; position < range.end; ++position) {
      if (!bands.visible(query_position, position, query_head)) continue;
      seen.push_back(position - keys_begin);
      convert(keys.row(position - keys_begin, head), keys.type, key.data(), Type::f32, keys.dim);
      const Score score = score_of(query, key.data(), keys.dim, rule);
      const auto distance = static_cast<double>(std::abs(query_position - position));
      biases.push_back(rule.slopes.empty() ? 0.0 : -rule.slopes[query_head] * distance);
      scores.push_back(score.value + biases.back());
      partial.maximum = std::max(partial.maximum, scores.back());
      partial.largest_score = std::max(partial.largest_score, score.size);
    }
  }
  for (std::size_t k = 0; k < seen.size(); ++k) {
    const double weight = std::exp(scores[k] - partial.maximum);
    convert(values.row(seen[k], head), values.type, value.data(), Type::f32, values.dim);
    partial.sum += weight;
    partial.bias += weight * std::abs(biases[k]);
    const double factor = rule.dropout ? dropout_factor(*rule.dropout, query_position, keys_begin + seen[k], query_head) : 1;
    double largest = 0;
    for (const float number : value) largest = std::max(largest, static_cast<double>(std::abs(number)));
    partial.lost += factor * (1 + largest);
    for (int c = 0; c < values.dim; ++c) {
      const double addend = factor * weight * static_cast<double>(value[c]);
      partial.numerator[c] += addend;
      partial.magnitude[c] += std::abs(addend);
      partial.biased[c] += std::abs(addend * biases[k]);
    }
  }
  return partial;
}

ReferencePartial reference_partial(std::span<const float* const> forms, std::int64_t chunk_tokens, std::int64_t query_position,
                                   TypedRows keys, TypedRows values, int head, std::int64_t keys_begin, const ScoreRule& rule,
                                   const Bands& bands, int query_head) {
  if (chunk_tokens == 0)
    return reference_partial(forms[0], query_position, keys, values, head, keys_begin, rule, bands, query_head);
  ReferencePartial all(values.dim);
  const std::int64_t keys_end = keys_begin + keys.tokens;
  const auto part = [&](TypedRows rows, std::int64_t begin, std::int64_t end) {
    rows.data = rows.row(begin - keys_begin, 0), rows.tokens = end - begin;
    return rows;
  };
  for (std::int64_t begin = keys_begin, end = begin; begin < keys_end; begin = end) {  // chunk by chunk
    const int form = form_of(query_position, begin, chunk_tokens);
    end = std::min(keys_end, (floor_divide(begin, chunk_tokens) + 1) * chunk_tokens);
    all.merge(reference_partial(forms[form], query_position, part(keys, begin, end), part(values, begin, end), head, begin, rule,
                                bands, query_head));
  }
  return all;
}

}  // namespace gyre
