// AdamW (Loshchilov and Hutter 2017, 1711.05101): Adam with decay of weights apart from the gradient.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bench/trainer/model_shape.hpp"

namespace gyre::trainer {

struct AdamWOptions {
  double learning_rate = 2e-3;
  int warmup_steps = 20;  // to which the rate rises linearly
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double decay = 0.1;       // of matrices; gains decay not
  double largest_norm = 1;  // to which gradients are clipped
};

/// Every rank holds all parameters and updates them all: same gradients, same bits.
class AdamW {
 public:
  AdamW(const ParameterLayout& layout, const AdamWOptions& options);

  /// One step, the first is 1. Returns the norm of the gradients, as given.
  double update(int step, std::span<const float> gradients, std::span<float> parameters);

 private:
  AdamWOptions options_;
  std::vector<TensorPlace> tensors_;
  std::vector<float> mean_, square_;
};

}  // namespace gyre::trainer
