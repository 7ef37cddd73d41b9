#include "bench/longbook/surprise.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace gyre::longbook {

double surprise(std::span<const float> logits, std::int32_t target) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return static_cast<double>(largest) + std::log(sum) - logits[target];
}

void surprises(Llama& model, std::span<const std::int32_t> targets, std::span<float> losses) {
  constexpr std::int64_t kBlock = 128;  // rows: 25 MB of logits where 49,152 tokens are known
  const std::int64_t rows = std::ssize(targets), vocabulary = model.shape().vocabulary;
  std::vector<float> logits(static_cast<std::size_t>(std::min(rows, kBlock) * vocabulary));
  for (std::int64_t first = 0; first < rows; first += kBlock) {
    const std::int64_t count = std::min(kBlock, rows - first);
    model.logits(first, count, logits.data());
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int32_t target = targets[first + row];
      const std::span<const float> of_row(logits.data() + row * vocabulary, static_cast<std::size_t>(vocabulary));
      losses[first + row] = target == kNoTarget ? 0 : static_cast<float>(surprise(of_row, target));
    }
  }
}

}  // namespace gyre::longbook
