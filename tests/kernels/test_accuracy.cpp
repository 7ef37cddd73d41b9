// The error of f32 kernels beside that of float32 arithmetic done plainly: scores in a loop, exponentials exact, sums over keys in
// pairs. (Root mean square, head dim 64, inputs of size 1 to 1.5: 0.35 to 0.95 times as much. Where scores are added up in pairs
// too, or inputs are so small that scores have next to no error, the exponential's own counts: 1.1 to 1.8 times, portable 2.0.)
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/bounds.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// The sum of element(begin), ..., element(end - 1), of halves that are as even as can be.
template <class Get>
float sum_in_pairs(std::int64_t begin, std::int64_t end, const Get& element) {
  if (end - begin == 1) return element(begin);
  const std::int64_t middle = begin + (end - begin) / 2;
  return sum_in_pairs(begin, middle, element) + sum_in_pairs(middle, end, element);
}

/// Softmax of one row in float32, and its products with the values.
std::vector<float> plain_row(const AttendCase& attend, std::int64_t token) {
  const CaseShape& shape = attend.shape();
  const float* const query = attend.queries().row(token, 0);
  const auto scale = static_cast<float>(attend.score().scale);
  std::vector<float> weights(shape.key_tokens), out(shape.value_dim);
  for (std::int64_t key = 0; key < shape.key_tokens; ++key) {
    const float* const row = attend.keys().row(key, 0);
    float dot = 0;
    for (int d = 0; d < shape.head_dim; ++d) dot += query[d] * row[d];
    weights[key] = scale * dot;
  }
  const float maximum = *std::max_element(weights.begin(), weights.end());
  for (float& weight : weights) weight = static_cast<float>(std::exp(static_cast<double>(weight - maximum)));
  const float sum = sum_in_pairs(0, shape.key_tokens, [&](std::int64_t key) { return weights[key]; });
  for (int c = 0; c < shape.value_dim; ++c) {
    out[c] =
        sum_in_pairs(0, shape.key_tokens, [&](std::int64_t key) { return weights[key] * attend.values().row(key, 0)[c]; }) / sum;
  }
  return out;
}

/// Root of the mean of squared errors, over all rows.
double error_of(const std::vector<float>& out, const std::vector<ReferencePartial>& reference) {
  const std::size_t channels = reference[0].numerator.size();
  double squares = 0;
  for (std::size_t at = 0; at < out.size(); ++at) {
    const double error = static_cast<double>(out[at]) - reference[at / channels].out(static_cast<int>(at % channels));
    squares += error * error;
  }
  return std::sqrt(squares / static_cast<double>(out.size()));
}

void check(const CaseShape& shape) {
  AttendCase attend(shape);
  const std::vector<ReferencePartial> reference = references(attend);
  std::vector<float> plain;
  for (std::int64_t token = 0; token < shape.query_tokens; ++token) {
    const std::vector<float> row = plain_row(attend, token);
    plain.insert(plain.end(), row.begin(), row.end());
  }
  const double plain_error = error_of(plain, reference);
  for (const KernelTable* kernels : available_kernels()) {
    attend.clear();
    attend.run(*kernels, 2);
    const double error = error_of(attend.finish().out, reference);
    INFO(kernels->name << ": " << shape.text() << ": " << error << ", plainly " << plain_error);
    CHECK(error <= 1.5 * plain_error);
  }
}

}  // namespace

TEST_CASE("the error is at most one and a half times that of plain float32 arithmetic, over thousands of keys") {
  for (const double size : {1.0, 1.5}) {
    for (const std::int64_t keys : {1024, 4096, 32768}) {
      check({.query_tokens = 4, .key_tokens = keys, .query_unit = 4, .key_unit = 512, .size = size});
      if (keys < 32768) check({.query_tokens = 40, .key_tokens = keys, .query_unit = 40, .key_unit = 512, .size = size});
    }
  }
}

TEST_CASE("the error is at most one and a half times that of plain float32 arithmetic, over a million keys", "[.long]") {
  check({.query_tokens = 4, .key_tokens = std::int64_t{1} << 20, .query_unit = 4, .key_unit = 512, .size = 1});
}

}  // namespace gyre::testing
