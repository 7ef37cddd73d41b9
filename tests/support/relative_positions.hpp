// Attention of which all that is known of positions is how far apart two tokens are taken to be: no row is ever turned, nothing is
// rounded, and nothing of the library's rotary positions is used but what a frequency is.
//
//   score(i, j) = scale m^2 sum over pairs Re(q conj(k) exp(i r(i, j) theta)) + scale (what is not turned)
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "support/problems.hpp"

namespace gyre::test {

/// r(i, j) of positions on the key axis.
using RelativePosition = std::function<std::int64_t(std::int64_t query, std::int64_t key)>;

struct NaiveResult {
  std::vector<double> out, lse;
  std::vector<double> queries, keys, values;  // gradients of sum(grad_out * out)
};
/// In float64, of a problem with rotary positions, without bias, sinks and dropout. grad_out: empty for no gradients.
NaiveResult naive_attention(const Problem& problem, const Tensors& tensors, const RelativePosition& relative,
                            const std::vector<float>& grad_out = {});

/// The largest difference, over the largest expected.
double relative_error(const std::vector<float>& found, const std::vector<double>& expected);

}  // namespace gyre::test
