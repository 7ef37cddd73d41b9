#include "bench/trainer/adamw.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "trainer/small_model.hpp"

using namespace gyre::trainer;

TEST_CASE("AdamW follows its definition in float64, clips by the whole norm, and decays matrices alone") {
  const ParameterLayout layout(small_shape());
  const AdamWOptions options = {.learning_rate = 1e-2, .warmup_steps = 2, .largest_norm = 3};
  AdamW optimizer(layout, options);
  std::vector<float> parameters(layout.size(), 0.5F), gradients(layout.size());
  std::vector<double> expected(layout.size(), 0.5), mean(layout.size()), square(layout.size());
  Random random(1);
  for (int step = 1; step <= 4; ++step) {
    double norm = 0;
    for (float& gradient : gradients)
      gradient = static_cast<float>(random.normal()) * (step == 4 ? 1e-3F : 1), norm += gradient * gradient;
    norm = std::sqrt(norm);
    CHECK(optimizer.update(step, gradients, parameters) == Approx(norm).epsilon(1e-6));
    const double clip = std::min(1.0, 3 / norm), rate = step == 1 ? 0.5e-2 : 1e-2;
    for (const TensorPlace& place : layout.tensors()) {
      for (std::int64_t at = place.offset; at < place.offset + place.size(); ++at) {
        mean[at] = 0.9 * mean[at] + 0.1 * clip * gradients[at];
        square[at] = 0.95 * square[at] + 0.05 * clip * clip * gradients[at] * gradients[at];
        const double unbiased_mean = mean[at] / (1 - std::pow(0.9, step)),
                     unbiased_square = square[at] / (1 - std::pow(0.95, step));
        if (place.rows > 1) expected[at] -= rate * 0.1 * expected[at];
        expected[at] -= rate * unbiased_mean / (std::sqrt(unbiased_square) + 1e-8);
      }
    }
  }
  double error = 0;
  for (std::size_t at = 0; at < expected.size(); ++at) error = std::max(error, std::abs(parameters[at] - expected[at]));
  CHECK(error < 1e-6);
}
