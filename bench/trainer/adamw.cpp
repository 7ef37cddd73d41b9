#include "bench/trainer/adamw.hpp"

#include <algorithm>
#include <cmath>

namespace gyre::trainer {

AdamW::AdamW(const ParameterLayout& layout, const AdamWOptions& options)
    : options_(options), tensors_(layout.tensors()), mean_(layout.size()), square_(layout.size()) {}

double AdamW::update(int step, std::span<const float> gradients, std::span<float> parameters) {
  double squares = 0;
  for (const float gradient : gradients) squares += static_cast<double>(gradient) * gradient;
  const double norm = std::sqrt(squares);
  const auto clip = static_cast<float>(norm > options_.largest_norm ? options_.largest_norm / norm : 1);

  const double rate = options_.learning_rate * std::min(1.0, static_cast<double>(step) / std::max(1, options_.warmup_steps));
  const auto beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
  const auto epsilon = static_cast<float>(options_.epsilon);
  // Mean and square start at 0: what is missing of their weights.
  const auto mean_scale = static_cast<float>(rate / (1 - std::pow(options_.beta1, step)));
  const auto square_scale = static_cast<float>(1 / (1 - std::pow(options_.beta2, step)));
  for (const TensorPlace& place : tensors_) {
    const auto keep = static_cast<float>(place.rows > 1 ? 1 - rate * options_.decay : 1);
    for (std::int64_t element = place.offset; element < place.offset + place.size(); ++element) {
      const float gradient = clip * gradients[element];
      mean_[element] = beta1 * mean_[element] + (1 - beta1) * gradient;
      square_[element] = beta2 * square_[element] + (1 - beta2) * gradient * gradient;
      parameters[element] =
          keep * parameters[element] - mean_scale * mean_[element] / (std::sqrt(square_scale * square_[element]) + epsilon);
    }
  }
  return norm;
}

}  // namespace gyre::trainer
