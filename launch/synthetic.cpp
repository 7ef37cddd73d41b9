#include "launch/synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace gyre {
namespace {

constexpr std::int64_t kTokensPerTask = 256;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose outputs pass the usual batteries on a counter.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/// Box and Muller: two uniform numbers of 24 bits, two normal ones, at most sqrt(2 ln 2^24) = 5.8 large.
void fill_row(std::uint64_t key, int dim, float* row) {
  for (int channel = 0; channel < dim; channel += 2) {
    const std::uint64_t bits = mix(key + static_cast<std::uint64_t>(channel));
    const float uniform = (static_cast<float>(bits >> 40) + 1) * 0x1p-24f;  // (0, 1], so that the logarithm is finite
    const float angle = static_cast<float>(bits & 0xffffff) * 0x1p-24f * 2 * std::numbers::pi_v<float>;
    const float radius = std::sqrt(-2 * std::log(uniform));
    row[channel] = radius * std::cos(angle);
    if (channel + 1 < dim) row[channel + 1] = radius * std::sin(angle);
  }
}

void fill_range(std::uint64_t key, Range tokens, int heads, int dim, Team& team, float* out) {
  const auto fill_task = [&](int task, int) {
    const std::int64_t begin = tokens.begin + task * kTokensPerTask;
    for (std::int64_t token = begin; token < std::min(begin + kTokensPerTask, tokens.end); ++token)
      for (int head = 0; head < heads; ++head) {
        const std::uint64_t row_key = mix(mix(key + static_cast<std::uint64_t>(token)) + static_cast<std::uint64_t>(head));
        fill_row(row_key, dim, out + ((token - tokens.begin) * heads + head) * dim);
      }
  };
  team.run(static_cast<int>((tokens.size() + kTokensPerTask - 1) / kTokensPerTask), fill_task, [] {});
}

}  // namespace

void fill_synthetic(std::uint64_t seed, Tensor tensor, std::span<const Range> tokens, int heads, int dim, Team& team, float* out) {
  const std::uint64_t key = mix(mix(seed) + static_cast<std::uint64_t>(tensor));
  for (const Range range : tokens) {
    fill_range(key, range, heads, dim, team, out);
    out += range.size() * heads * dim;
  }
}

}  // namespace gyre
