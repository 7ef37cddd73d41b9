#include "kernels/gradient_keys.hpp"

#include "kernels/cell.hpp"

namespace gyre {
namespace {

constexpr std::ptrdiff_t kWordRow = std::ptrdiff_t{2} * kStrip;  // bf16 in 16 words

}  // namespace

void strips_of_values(const float* blocks, std::int64_t keys, int value_dim, float* strips) {
  for (std::int64_t strip = 0; strip < keys; strip += kStrip, strips += std::int64_t{value_dim} * kStrip) {
    for (int channel = 0; channel < value_dim; ++channel) {
      const float* const block = blocks + (channel / kChannels * keys + strip) * kChannels + channel % kChannels;
      for (int key = 0; key < kStrip; ++key) strips[channel * kStrip + key] = block[std::ptrdiff_t{key} * kChannels];
    }
  }
}

void pair_keys(const std::byte* key, std::int64_t keys, std::int64_t dims, float* words) {
  const auto* from = reinterpret_cast<const std::uint16_t*>(key);
  auto* to = reinterpret_cast<std::uint16_t*>(words);
  for (std::int64_t row = 0; row < keys / kStrip * dims; row += 2, from += kWordRow, to += kWordRow) {
    for (std::ptrdiff_t k = 0; k < kStrip; ++k) to[k] = from[2 * k], to[kStrip + k] = from[2 * k + 1];
  }
}

void pair_channels(const std::byte* value, std::int64_t keys, int value_dim, float* words) {
  const auto* const blocks = reinterpret_cast<const std::uint16_t*>(value);
  auto* to = reinterpret_cast<std::uint16_t*>(words);
  for (std::int64_t strip = 0; strip < keys; strip += kStrip) {
    for (int channel = 0; channel < value_dim; channel += 2, to += kWordRow) {
      const std::uint16_t* const from =
          blocks + (channel / kChannels * keys + strip) * kChannels + std::ptrdiff_t{2} * (channel % kChannels);
      for (std::ptrdiff_t key = 0; key < kStrip; key += 2) {  // a word of keys for each of two channels
        const std::uint16_t* const pair = from + key * kChannels;
        to[2 * key] = pair[0], to[2 * key + 1] = pair[2], to[2 * key + 2] = pair[1], to[2 * key + 3] = pair[3];
      }
    }
  }
}

}  // namespace gyre
