#include "kernels/pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <type_traits>

#include "kernels/convert.hpp"
#include "kernels/partial.hpp"

namespace gyre {
namespace {

/// Four lanes in the compilers' vector extension, of what a cell's element takes: 32 or 16 bits. Rows are taken four at a time: few
/// streams, whatever their stride is, and a strip that stays in the nearest cache.
typedef float Floats __attribute__((vector_size(16)));
typedef std::uint16_t Halves __attribute__((vector_size(8)));
template <class Raw>
using Four = std::conditional_t<sizeof(Raw) == 4, Floats, Halves>;

template <class Raw>
Four<Raw> load(const Raw* from) {
  Four<Raw> four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

template <class Raw>
void store(Raw* to, Four<Raw> four) {
  std::memcpy(to, &four, sizeof four);
}

template <class Vector>
void transpose(Vector (&square)[4]) {
  const Vector a = __builtin_shufflevector(square[0], square[1], 0, 4, 1, 5),
               b = __builtin_shufflevector(square[2], square[3], 0, 4, 1, 5);
  const Vector c = __builtin_shufflevector(square[0], square[1], 2, 6, 3, 7),
               d = __builtin_shufflevector(square[2], square[3], 2, 6, 3, 7);
  square[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), square[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  square[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), square[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

constexpr int kPieceChannels = 64;  // of 16 rows, converted at a time: 4 kB; a multiple of kChannels
static_assert(kPieceChannels % kChannels == 0);

/// Up to 16 rows of one tensor.
struct Sources {
  const std::byte* rows[kStrip] = {};
  int count = 0;
  Type type = Type::f32;
};

/// Calls take(rows, first channel, channels) for the rows in the type of cells: where they lie, or converted piece by piece.
template <class Raw, class Take>
void take_rows(const Sources& from, Type to, int dim, Take&& take) {
  const Raw* rows[kStrip] = {};
  if (from.type == to) {
    for (int row = 0; row < from.count; ++row) rows[row] = reinterpret_cast<const Raw*>(from.rows[row]);
    return take(rows, 0, dim);
  }
  alignas(kAlignment) Raw piece[kStrip][kPieceChannels];
  for (int row = 0; row < from.count; ++row) rows[row] = piece[row];
  for (int begin = 0; begin < dim; begin += kPieceChannels) {
    const int channels = std::min(kPieceChannels, dim - begin);
    for (int row = 0; row < from.count; ++row)
      convert(from.rows[row] + begin * type_bytes(from.type), from.type, piece[row], to, channels);
    take(rows, begin, channels);
  }
}

/// Four neighbouring lanes of a strip [dim][16] from four rows.
template <class Raw>
void pack_lanes(const Raw* const* rows, int dim, Raw* lanes) {
  int d = 0;
  for (; d + 4 <= dim; d += 4) {
    Four<Raw> square[4];
    for (int row = 0; row < 4; ++row) square[row] = load(rows[row] + d);
    transpose(square);
    for (int k = 0; k < 4; ++k) store(lanes + (d + k) * kStrip, square[k]);
  }
  for (; d < dim; ++d) {
    for (int row = 0; row < 4; ++row) lanes[d * kStrip + row] = rows[row][d];
  }
}

/// A strip [dim][16]; lanes without a row become zero.
template <class Raw>
void pack_strip(const Sources& from, Type to, int dim, Raw* strip) {
  take_rows<Raw>(from, to, dim, [&](const Raw* const* rows, int begin, int channels) {
    Raw* const place = strip + begin * kStrip;
    int lane = 0;
    for (; lane + 4 <= from.count; lane += 4) pack_lanes(rows + lane, channels, place + lane);
    for (; lane < kStrip; ++lane) {
      for (int d = 0; d < channels; ++d) place[d * kStrip + lane] = lane < from.count ? rows[lane][d] : Raw{0};
    }
  });
}

/// Copies some keys' value channels into their places in each block [keys][8]; channels past the end become zero.
template <class Raw>
void pack_values(const Raw* const* rows, int count, int channels, std::int64_t block_elements, Raw* place) {
  int channel = 0;
  for (; channel + kChannels <= channels; channel += kChannels, place += block_elements) {
    for (int row = 0; row < count; ++row) std::copy_n(rows[row] + channel, kChannels, place + row * kChannels);
  }
  if (channel == channels) return;
  for (int row = 0; row < count; ++row, place += kChannels) {
    std::fill(std::copy(rows[row] + channel, rows[row] + channels, place), place + kChannels, Raw{0});
  }
}

template <class Raw>
void pack_query_cell(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head, Raw* strip) {
  const std::int64_t rows = tokens * shape.group;
  const std::int64_t used = std::int64_t{shape.head_dim} * kStrip;
  for (std::int64_t row = 0; row < rows; row += kStrip, strip += query_strip_elements(shape)) {
    Sources lanes{.count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - row)), .type = queries.type};
    for (int lane = 0; lane < lanes.count; ++lane) {
      lanes.rows[lane] =
          queries.row(first + (row + lane) / shape.group, head * shape.group + static_cast<int>((row + lane) % shape.group));
    }
    pack_strip(lanes, shape.type, shape.head_dim, strip);
    std::fill(strip + used, strip + query_strip_elements(shape), Raw{0});
  }
}

Sources sources(TypedRows rows, std::int64_t first, std::int64_t tokens, std::int64_t most, int head) {
  Sources from{.count = static_cast<int>(std::min(most, tokens)), .type = rows.type};
  for (int row = 0; row < from.count; ++row) from.rows[row] = rows.row(first + row, head);
  return from;
}

template <class Raw>
void pack_key_value_cell(const CellShape& shape, TypedRows keys, TypedRows values, std::int64_t first, std::int64_t tokens,
                         int head, Raw* key) {
  Raw* const value = key + value_offset_elements(shape, tokens);
  const std::int64_t rounded = round_up(tokens, kStrip);
  const std::int64_t block_elements = rounded * kChannels;
  for (std::int64_t row = 0; row < rounded; row += kStrip) {
    pack_strip(sources(keys, first + row, tokens - row, kStrip, head), shape.type, shape.head_dim, key + row * shape.head_dim);
  }
  std::fill(key + rounded * shape.head_dim, value, Raw{0});
  for (std::int64_t row = 0; row < tokens; row += 4) {
    const Sources from = sources(values, first + row, tokens - row, 4, head);
    take_rows<Raw>(from, shape.type, shape.value_dim, [&](const Raw* const* rows, int begin, int channels) {
      pack_values(rows, from.count, channels, block_elements, value + begin / kChannels * block_elements + row * kChannels);
    });
  }
  for (int channel = 0; channel < shape.value_dim; channel += kChannels) {
    Raw* const block = value + channel / kChannels * block_elements;
    std::fill(block + tokens * kChannels, block + block_elements, Raw{0});
  }
}

/// Four neighbouring lanes of a partial, divided by their sums, into four rows.
void finish_lanes(const float* lanes, Floats sums, int channels, float* const* rows) {
  int channel = 0;
  for (; channel + 4 <= channels; channel += 4) {
    Floats square[4];
    for (int k = 0; k < 4; ++k) square[k] = load(lanes + (channel + k) * kStrip) / sums;
    transpose(square);
    for (int row = 0; row < 4; ++row) store(rows[row] + channel, square[row]);
  }
  for (; channel < channels; ++channel) {
    for (int row = 0; row < 4; ++row) rows[row][channel] = lanes[channel * kStrip + row] / sums[row];
  }
}

/// Some channels of one strip's rows.
void finish_channels(const float* numerator, const float (&divisor)[kStrip], int channels, int count, float* const* rows) {
  int lane = 0;
  for (; lane + 4 <= count; lane += 4) finish_lanes(numerator + lane, load(divisor + lane), channels, rows + lane);
  for (; lane < count; ++lane) {
    for (int channel = 0; channel < channels; ++channel) rows[lane][channel] = numerator[channel * kStrip + lane] / divisor[lane];
  }
}

/// Rows of one strip. The numerator of a row that saw nothing is 0, so any divisor will do.
void finish_strip(const float* partial, int value_dim, int count, Type type, std::byte* const (&rows)[kStrip]) {
  const float* const sum = partial + (2 * round_up(value_dim, kChannels) + 1) * kStrip;
  float divisor[kStrip];
  for (int lane = 0; lane < kStrip; ++lane) divisor[lane] = sum[lane] == 0.0F ? 1.0F : sum[lane];
  float* floats[kStrip] = {};
  if (type == Type::f32) {
    for (int lane = 0; lane < count; ++lane) floats[lane] = reinterpret_cast<float*>(rows[lane]);
    return finish_channels(partial, divisor, value_dim, count, floats);
  }
  alignas(kAlignment) float piece[kStrip][kPieceChannels];
  for (int lane = 0; lane < count; ++lane) floats[lane] = piece[lane];
  for (int begin = 0; begin < value_dim; begin += kPieceChannels) {
    const int channels = std::min(kPieceChannels, value_dim - begin);
    finish_channels(partial + begin * kStrip, divisor, channels, count, floats);
    for (int lane = 0; lane < count; ++lane) convert(piece[lane], Type::f32, rows[lane] + begin * type_bytes(type), type, channels);
  }
}

float natural_log_sum_exp(float maximum, float sum) {
  if (sum == 0.0F) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(std::numbers::ln2 * static_cast<double>(maximum) + std::log(static_cast<double>(sum)));
}

}  // namespace

void pack_query(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head, std::byte* cell) {
  if (shape.type == Type::f32) return pack_query_cell(shape, queries, first, tokens, head, reinterpret_cast<float*>(cell));
  pack_query_cell(shape, queries, first, tokens, head, reinterpret_cast<std::uint16_t*>(cell));
}

void pack_key_value(const CellShape& shape, TypedRows keys, TypedRows values, std::int64_t first, std::int64_t tokens, int head,
                    std::byte* cell) {
  if (shape.type == Type::f32) {
    return pack_key_value_cell(shape, keys, values, first, tokens, head, reinterpret_cast<float*>(cell));
  }
  pack_key_value_cell(shape, keys, values, first, tokens, head, reinterpret_cast<std::uint16_t*>(cell));
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

void finish_partial(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                    std::int64_t first) {
  const float* strip = reinterpret_cast<const float*>(cell);
  const std::int64_t rows = tokens * shape.group;
  const auto token_of = [&](std::int64_t row) { return first + row / shape.group; };
  const auto head_of = [&](std::int64_t row) { return head * shape.group + static_cast<int>(row % shape.group); };
  for (std::int64_t row = 0; row < rows; row += kStrip, strip += partial_strip_floats(shape)) {
    const int count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - row));
    std::byte* lanes[kStrip] = {};
    for (int lane = 0; lane < count; ++lane) lanes[lane] = out.row(token_of(row + lane), head_of(row + lane));
    finish_strip(strip, shape.value_dim, count, out.type, lanes);
    if (lse == nullptr) continue;
    const float* const maximum = strip + 2 * round_up(shape.value_dim, kChannels) * kStrip;
    for (int lane = 0; lane < count; ++lane) {
      lse[token_of(row + lane) * out.heads + head_of(row + lane)] = natural_log_sum_exp(maximum[lane], maximum[kStrip + lane]);
    }
  }
}

}  // namespace gyre
