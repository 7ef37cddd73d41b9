#include "kernels/dropout.hpp"

#include <algorithm>
#include <cmath>

namespace gyre {
namespace {

/// SplitMix64's finalizer.
std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}
constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15U;

}  // namespace

DropoutRow dropout_row(std::uint64_t seed, std::int64_t query_position, int query_head) {
  std::uint64_t z = mixed(seed + kStep);
  z = mixed(z ^ static_cast<std::uint64_t>(query_position));
  z = mixed(z + (static_cast<std::uint64_t>(query_head) + 1) * kStep);
  return {.first = static_cast<std::uint32_t>(z), .second = static_cast<std::uint32_t>(z >> 32)};
}

std::int32_t dropout_threshold(double probability) {
  const double share = std::min(std::round(probability * 0x1p32), 0x1p32 - 1);
  return static_cast<std::int32_t>(share - 0x1p31);
}

double dropout_factor(const Dropout& dropout, std::int64_t query_position, std::int64_t key_position, int query_head) {
  const DropoutRow row = dropout_row(dropout.seed, query_position, query_head);
  std::uint32_t x = row.first + static_cast<std::uint32_t>(key_position) * kKeyStep;
  x = (x ^ x >> 16) * kMix1 + row.second;
  x = (x ^ x >> 15) * kMix2;
  return static_cast<std::int32_t>(x) < dropout_threshold(dropout.probability) ? 0 : 1 / (1 - dropout.probability);
}

}  // namespace gyre
