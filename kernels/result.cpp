#include "kernels/result.hpp"

#include <algorithm>

#include "kernels/partial.hpp"

namespace gyre {
namespace {

/// Of rows from `first` on, numerators of `channels` channels, maximum and sum.
void empty_lanes(float* strip, std::int64_t channels, std::int64_t first) {
  for (std::int64_t line = 0; line < channels + 2; ++line) {
    for (std::int64_t lane = first; lane < kStrip; ++lane) strip[line * kStrip + lane] = line == channels ? kEmptyMaximum : 0.0F;
  }
}

/// [lines][number, what its additions lost][16] to [lines][16].
void settle_lines(const float* from, std::int64_t lines, float* to) {
  for (std::int64_t line = 0; line < lines; ++line, from += kNumeratorStride, to += kStrip) {
    for (int lane = 0; lane < kStrip; ++lane) to[lane] = settled(from[lane], from[kStrip + lane]);
  }
}

}  // namespace

void settle_partial(const CellShape& shape, const std::byte* partial, std::int64_t tokens, std::byte* result) {
  const float* from = reinterpret_cast<const float*>(partial);
  float* to = reinterpret_cast<float*>(result);
  const std::int64_t channels = round_up(shape.value_dim, kChannels), rows = tokens * shape.group;
  for (std::int64_t row = 0; row < rows; row += kStrip, from += partial_strip_floats(shape), to += result_strip_floats(shape)) {
    const float* const maximum = from + channels * kNumeratorStride;
    settle_lines(from, channels, to);
    std::copy_n(maximum, kStrip, to + channels * kStrip);
    settle_lines(maximum + kStrip, 1, to + (channels + 1) * kStrip);
    if (rows - row < kStrip) empty_lanes(to, channels, rows - row);
  }
}

void combine(const KernelTable& kernels, const CellShape& shape, std::int64_t tokens, const std::byte* result, std::byte* partial) {
  kernels.combine(query_strips(shape, tokens), static_cast<int>(round_up(shape.value_dim, kChannels)),
                  reinterpret_cast<const float*>(result), reinterpret_cast<float*>(partial));
}

}  // namespace gyre
