#include "kernels/pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "kernels/partial.hpp"

namespace gyre {
namespace {

/// Four lanes in the compilers' vector extension. Rows are taken four at a time: few streams, whatever their stride is, and a strip
/// that stays in the nearest cache.
typedef float Four __attribute__((vector_size(16)));

Four load(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

void store(float* to, Four four) {
  std::memcpy(to, &four, sizeof four);
}

void transpose(Four (&square)[4]) {
  const Four a = __builtin_shufflevector(square[0], square[1], 0, 4, 1, 5),
             b = __builtin_shufflevector(square[2], square[3], 0, 4, 1, 5);
  const Four c = __builtin_shufflevector(square[0], square[1], 2, 6, 3, 7),
             d = __builtin_shufflevector(square[2], square[3], 2, 6, 3, 7);
  square[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), square[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  square[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), square[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/// Four neighbouring lanes of a strip [dim][16] from four rows, times `factor`.
void pack_lanes(const float* const* rows, int dim, float factor, float* lanes) {
  int d = 0;
  for (; d + 4 <= dim; d += 4) {
    Four square[4];
    for (int row = 0; row < 4; ++row) square[row] = load(rows[row] + d) * factor;
    transpose(square);
    for (int k = 0; k < 4; ++k) store(lanes + (d + k) * kStrip, square[k]);
  }
  for (; d < dim; ++d) {
    for (int row = 0; row < 4; ++row) lanes[d * kStrip + row] = rows[row][d] * factor;
  }
}

/// A strip [dim][16] from up to 16 rows; lanes without a row become zero.
void pack_strip(const float* const (&rows)[kStrip], int count, int dim, float factor, float* strip) {
  int lane = 0;
  for (; lane + 4 <= count; lane += 4) pack_lanes(rows + lane, dim, factor, strip + lane);
  for (; lane < kStrip; ++lane) {
    for (int d = 0; d < dim; ++d) strip[d * kStrip + lane] = lane < count ? rows[lane][d] * factor : 0.0F;
  }
}

/// Copies some keys' value channels into their places in each block [keys][8]; channels past the end become zero.
void pack_values(const float* const* rows, int count, int value_dim, std::int64_t block_floats, float* place) {
  int channel = 0;
  for (; channel + kChannels <= value_dim; channel += kChannels, place += block_floats) {
    for (int row = 0; row < count; ++row) std::copy_n(rows[row] + channel, kChannels, place + row * kChannels);
  }
  if (channel == value_dim) return;
  for (int row = 0; row < count; ++row, place += kChannels) {
    std::fill(std::copy(rows[row] + channel, rows[row] + value_dim, place), place + kChannels, 0.0F);
  }
}

/// Four neighbouring lanes of a partial, divided by their sums, into four rows.
void finish_lanes(const float* lanes, Four sums, int value_dim, float* const* rows) {
  int channel = 0;
  for (; channel + 4 <= value_dim; channel += 4) {
    Four square[4];
    for (int k = 0; k < 4; ++k) square[k] = load(lanes + (channel + k) * kStrip) / sums;
    transpose(square);
    for (int row = 0; row < 4; ++row) store(rows[row] + channel, square[row]);
  }
  for (; channel < value_dim; ++channel) {
    for (int row = 0; row < 4; ++row) rows[row][channel] = lanes[channel * kStrip + row] / sums[row];
  }
}

/// Rows of one strip. The numerator of a row that saw nothing is 0, so any divisor will do.
void finish_strip(const float* partial, int value_dim, int count, float* const (&rows)[kStrip]) {
  const float* const sum = partial + (2 * round_up(value_dim, kChannels) + 1) * kStrip;
  float divisor[kStrip];
  for (int lane = 0; lane < kStrip; ++lane) divisor[lane] = sum[lane] == 0.0F ? 1.0F : sum[lane];
  int lane = 0;
  for (; lane + 4 <= count; lane += 4) finish_lanes(partial + lane, load(divisor + lane), value_dim, rows + lane);
  for (; lane < count; ++lane) {
    for (int channel = 0; channel < value_dim; ++channel) rows[lane][channel] = partial[channel * kStrip + lane] / divisor[lane];
  }
}

float natural_log_sum_exp(float maximum, float sum) {
  if (sum == 0.0F) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(std::numbers::ln2 * static_cast<double>(maximum) + std::log(static_cast<double>(sum)));
}

}  // namespace

void pack_query(const CellShape& shape, Rows<const float> queries, std::int64_t first, std::int64_t tokens, int head, float factor,
                std::byte* cell) {
  float* strip = reinterpret_cast<float*>(cell);
  const std::int64_t rows = tokens * shape.group;
  for (std::int64_t row = 0; row < rows; row += kStrip, strip += query_strip_floats(shape)) {
    const float* lanes[kStrip] = {};
    const int count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - row));
    for (int lane = 0; lane < count; ++lane) {
      lanes[lane] =
          queries.row(first + (row + lane) / shape.group, head * shape.group + static_cast<int>((row + lane) % shape.group));
    }
    pack_strip(lanes, count, shape.head_dim, factor, strip);
  }
}

void pack_key_value(const CellShape& shape, Rows<const float> keys, Rows<const float> values, std::int64_t first,
                    std::int64_t tokens, int head, std::byte* cell) {
  float* const key = reinterpret_cast<float*>(cell);
  float* const value = key + value_offset_floats(shape, tokens);
  const std::int64_t rounded = round_up(tokens, kStrip);
  const std::int64_t block_floats = rounded * kChannels;
  for (std::int64_t row = 0; row < rounded; row += kStrip) {
    const float* lanes[kStrip] = {};
    const int count = static_cast<int>(std::min<std::int64_t>(kStrip, tokens - row));
    for (int lane = 0; lane < count; ++lane) lanes[lane] = keys.row(first + row + lane, head);
    pack_strip(lanes, count, shape.head_dim, 1.0F, key + row * shape.head_dim);
  }
  for (std::int64_t row = 0; row < tokens; row += 4) {
    const float* rows[4] = {};
    const int count = static_cast<int>(std::min<std::int64_t>(4, tokens - row));
    for (int k = 0; k < count; ++k) rows[k] = values.row(first + row + k, head);
    pack_values(rows, count, shape.value_dim, block_floats, value + row * kChannels);
  }
  for (int channel = 0; channel < shape.value_dim; channel += kChannels) {
    float* const block = value + channel / kChannels * block_floats;
    std::fill(block + tokens * kChannels, block + block_floats, 0.0F);
  }
}

void clear_partial(const CellShape& shape, std::int64_t tokens, std::byte* cell) {
  float* strip = reinterpret_cast<float*>(cell);
  const std::int64_t numerator = 2 * round_up(shape.value_dim, kChannels) * kStrip;  // and its correction
  for (std::int64_t s = 0; s < query_strips(shape, tokens); ++s, strip += partial_strip_floats(shape)) {
    std::fill_n(strip, numerator, 0.0F);
    std::fill_n(strip + numerator, kStrip, kEmptyMaximum);
    std::fill_n(strip + numerator + kStrip, 2 * kStrip, 0.0F);
  }
}

void finish_partial(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, Rows<float> out, float* lse,
                    std::int64_t first) {
  const float* strip = reinterpret_cast<const float*>(cell);
  const std::int64_t rows = tokens * shape.group;
  const auto token_of = [&](std::int64_t row) { return first + row / shape.group; };
  const auto head_of = [&](std::int64_t row) { return head * shape.group + static_cast<int>(row % shape.group); };
  for (std::int64_t row = 0; row < rows; row += kStrip, strip += partial_strip_floats(shape)) {
    const int count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - row));
    float* lanes[kStrip] = {};
    for (int lane = 0; lane < count; ++lane) lanes[lane] = out.row(token_of(row + lane), head_of(row + lane));
    finish_strip(strip, shape.value_dim, count, lanes);
    if (lse == nullptr) continue;
    const float* const maximum = strip + 2 * round_up(shape.value_dim, kChannels) * kStrip;
    for (int lane = 0; lane < count; ++lane) {
      lse[token_of(row + lane) * out.heads + head_of(row + lane)] = natural_log_sum_exp(maximum[lane], maximum[kStrip + lane]);
    }
  }
}

}  // namespace gyre
