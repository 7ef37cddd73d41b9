// What a user of the installed library writes: causal attention of 100 tokens, held against a plain loop.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <gyre/runtime/attention.hpp>
#include <vector>

constexpr int kTokens = 100, kDim = 8;

/// Any deterministic tensors do; 0 queries, 1 keys, 2 values.
inline double element(int tensor, std::int64_t token, int channel) {
  return static_cast<float>(std::sin(static_cast<double>(101 * tensor + 31 * token + 7 * channel)));
}

/// The first channel of a row of the output, by the definition.
inline double expected(std::int64_t row) {
  double sum = 0, weighted = 0;
  for (std::int64_t key = 0; key <= row; ++key) {
    double score = 0;
    for (int channel = 0; channel < kDim; ++channel) score += element(0, row, channel) * element(1, key, channel);
    const double weight = std::exp(score / std::sqrt(kDim));
    sum += weight, weighted += weight * element(2, key, 0);
  }
  return weighted / sum;
}

/// Runs this rank's part and returns the largest error among its rows. Collective.
inline double largest_error(gyre::Transport& transport) {
  gyre::Problem problem;
  problem.query_tokens = problem.key_tokens = kTokens;
  problem.head_dim = problem.value_dim = kDim;
  problem.mask = gyre::Mask::causal();
  gyre::Attention attention(transport, problem, {});

  std::vector<std::int64_t> tokens;  // that this rank holds
  for (const gyre::Range rows : attention.query_rows())
    for (std::int64_t token = rows.begin; token < rows.end; ++token) tokens.push_back(token);
  std::vector<float> tensors[3];
  for (int tensor = 0; tensor < 3; ++tensor)
    for (const std::int64_t token : tokens)
      for (int channel = 0; channel < kDim; ++channel)
        tensors[tensor].push_back(static_cast<float>(element(tensor, token, channel)));

  const auto count = static_cast<std::int64_t>(tokens.size());
  std::vector<float> out(tokens.size() * kDim, NAN), lse(tokens.size());
  attention.forward({.queries = {tensors[0].data(), count, 1, kDim},
                     .keys = {tensors[1].data(), count, 1, kDim},
                     .values = {tensors[2].data(), count, 1, kDim},
                     .out = {out.data(), count, 1, kDim},
                     .lse = lse.data()});
  double worst = 0;
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const double error = std::abs(out[row * kDim] - expected(tokens[row]));
    worst = error <= worst ? worst : error;  // also NaN
  }
  return worst;
}
