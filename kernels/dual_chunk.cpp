#include "kernels/dual_chunk.hpp"

#include <cmath>
#include <stdexcept>

namespace gyre {

void DualChunk::validate() const {
  const auto refuse = [](const char* name, std::int64_t value, const std::string& remedy) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + " tokens; " + remedy);
  };
  if (chunk < 1 || chunk > kLongestChunk)
    refuse("the chunk of dual chunk attention", chunk,
           "give 1 to " + std::to_string(kLongestChunk) + ", usually three quarters of the length that the model was trained for");
  if (local < 0 || local >= chunk)
    refuse("the local window of dual chunk attention", local,
           "give 0 to " + std::to_string(chunk - 1) +
               ", less than its chunk: usually an eighth of the length that the model was trained for");
  if (original_tokens && (*original_tokens < 1 || *original_tokens > kLargestOriginalTokens))
    refuse("the original length of dual chunk attention", *original_tokens,
           "give the length that the model was trained for, 1 to " + std::to_string(kLargestOriginalTokens));
}

Stretch DualChunk::keys(std::int64_t position) const {
  return {.first = position - floor_divide(position, length()) * length()};
}

std::array<Stretch, kMostForms> DualChunk::queries(std::int64_t position) const {
  const Stretch own = keys(position);
  const std::int64_t farthest = std::min(2 * length() - 1, chunk);
  return {own, Stretch{.first = own.first + length(), .last = chunk}, Stretch{.first = farthest, .last = farthest}};
}

double DualChunk::temperature(std::int64_t key_tokens) const {
  if (!original_tokens || key_tokens <= *original_tokens) return 1;
  return 0.1 * std::log(static_cast<double>(key_tokens) / static_cast<double>(*original_tokens)) + 1;
}

std::string to_string(const DualChunk& dual_chunk) {
  return std::to_string(dual_chunk.chunk) + " less " + std::to_string(dual_chunk.local) + " tokens" +
         (dual_chunk.original_tokens ? ", from " + std::to_string(*dual_chunk.original_tokens) : "");
}

}  // namespace gyre
