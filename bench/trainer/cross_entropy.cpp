#include "bench/trainer/cross_entropy.hpp"

#include <algorithm>
#include <cmath>

namespace gyre::trainer {

template <class Real>
double cross_entropy(std::span<const std::int32_t> targets, int vocabulary, double scale, Real* logits) {
  double loss = 0;
  for (const std::int32_t target : targets) {
    if (target == kNoTarget) {
      std::fill_n(logits, vocabulary, Real(0));
    } else {
      const double largest = *std::max_element(logits, logits + vocabulary);
      double sum = 0;
      for (int token = 0; token < vocabulary; ++token) sum += std::exp(logits[token] - largest);
      const double normaliser = largest + std::log(sum);
      loss += normaliser - logits[target];
      for (int token = 0; token < vocabulary; ++token)
        logits[token] = static_cast<Real>(scale * (std::exp(logits[token] - normaliser) - (token == target ? 1 : 0)));
    }
    logits += vocabulary;
  }
  return loss;
}

template double cross_entropy(std::span<const std::int32_t>, int, double, float*);
template double cross_entropy(std::span<const std::int32_t>, int, double, double*);

}  // namespace gyre::trainer
