#include "kernels/gradient.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "kernels/convert.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "kernels/result.hpp"

namespace gyre {
namespace {

constexpr int kPieceChannels = 256;  // converted at a time

/// Calls take(first channel, values) for a row in fp32, after it was rounded to `through`.
template <class Take>
void take_row(const std::byte* row, Type type, Type through, int channels, Take&& take) {
  float values[kPieceChannels];
  std::uint16_t narrow[kPieceChannels];
  for (int begin = 0; begin < channels; begin += kPieceChannels) {
    const int count = std::min(kPieceChannels, channels - begin);
    const std::byte* const piece = row + begin * type_bytes(type);
    if (through == Type::f32 || through == type) {
      convert(piece, type, values, Type::f32, count);
    } else {
      convert(piece, type, narrow, through, count);
      convert(narrow, through, values, Type::f32, count);
    }
    take(begin, std::span<const float>(values, count));
  }
}

/// In float64: the difference grad_out . value - D cancels where a row sees one key.
double dot(const std::byte* grad_out, Type grad_out_type, Type cells, const std::byte* out, Type out_type, int channels) {
  double sum = 0;
  take_row(grad_out, grad_out_type, cells, channels, [&](int begin, std::span<const float> left) {
    take_row(out + begin * type_bytes(out_type), out_type, out_type, static_cast<int>(left.size()),
             [&](int, std::span<const float> right) {
               for (std::size_t c = 0; c < left.size(); ++c) sum += static_cast<double>(left[c]) * static_cast<double>(right[c]);
             });
  });
  return sum;
}

/// Numbers of a gradient cell, and of a share, by their index among the totals.
struct Totals {
  static constexpr int kStride = kGradientStride;
  static float number(const float* piece, std::int64_t index) {
    const float* const total = piece + gradient_at(index);
    return settled(total[0], total[kStrip]);
  }
};
struct Shares {
  static constexpr int kStride = kStrip;
  static float number(const float* piece, std::int64_t index) { return piece[index]; }
};

/// Channel c at `first` + c * stride of a piece of a cell.
template <class Numbers>
void finish_row(const float* piece, std::int64_t first, std::int64_t stride, int channels, Type type, std::byte* row) {
  float values[kPieceChannels];
  for (int begin = 0; begin < channels; begin += kPieceChannels) {
    const int count = std::min(kPieceChannels, channels - begin);
    for (int c = 0; c < count; ++c) values[c] = Numbers::number(piece, first + (begin + c) * stride);
    convert(values, Type::f32, row + begin * type_bytes(type), type, count);
  }
}

template <class Numbers>
void finish_queries(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                    std::int64_t first) {
  const float* const strips = reinterpret_cast<const float*>(cell);
  const std::int64_t strip_floats = std::int64_t{Numbers::kStride} * shape.head_dim;
  for (std::int64_t row = 0; row < tokens * shape.group; ++row) {
    finish_row<Numbers>(strips + row / kStrip * strip_floats, row % kStrip, kStrip, shape.head_dim, grad_query.type,
                        grad_query.row(first + row / shape.group, head * shape.group + static_cast<int>(row % shape.group)));
  }
}

template <class Numbers>
void finish_key_values(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                       TypedOutRows grad_value, std::int64_t first) {
  const float* const keys = reinterpret_cast<const float*>(cell);
  const float* const values = keys + grad_key_floats(shape, tokens) / kStrip * Numbers::kStride;
  for (std::int64_t row = 0; row < tokens; ++row) {
    finish_row<Numbers>(keys, row * round_up(shape.head_dim, kStrip), 1, shape.head_dim, grad_key.type,
                        grad_key.row(first + row, head));
    finish_row<Numbers>(values, row * round_up(shape.value_dim, kStrip), 1, shape.value_dim, grad_value.type,
                        grad_value.row(first + row, head));
  }
}

/// Totals come in pieces of kStrip, each with what their additions lost.
std::int64_t pieces_of(Role role, const CellShape& shape, std::int64_t tokens) {
  return cell_bytes(role, shape, tokens) / (kGradientStride * std::int64_t{sizeof(float)});
}

}  // namespace

void pack_grad_out(const CellShape& shape, TypedRows grad_out, std::int64_t first, std::int64_t tokens, int head, std::byte* cell) {
  pack_query(grad_out_shape(shape), grad_out, first, tokens, head, cell);
}

void pack_row_statistics(const CellShape& shape, TypedRows grad_out, TypedRows out, const float* lse, std::int64_t first,
                         std::int64_t tokens, int head, std::byte* cell) {
  float* strip = reinterpret_cast<float*>(cell);
  const std::int64_t rows = tokens * shape.group;
  for (std::int64_t row = 0; row < round_up(rows, kStrip); ++row) {
    float* const lane = strip + row / kStrip * 2 * kStrip + row % kStrip;
    lane[0] = kBlindLogSumExp, lane[kStrip] = 0;
    if (row >= rows) continue;
    const std::int64_t token = first + row / shape.group;
    const int query_head = head * shape.group + static_cast<int>(row % shape.group);
    const float log_sum_exp = lse[token * grad_out.heads + query_head];
    if (std::isinf(log_sum_exp)) continue;
    lane[0] = static_cast<float>(static_cast<double>(log_sum_exp) * std::numbers::log2e);
    lane[kStrip] = static_cast<float>(
        dot(grad_out.row(token, query_head), grad_out.type, shape.type, out.row(token, query_head), out.type, shape.value_dim));
  }
}

void pack_backward_query(const CellShape& shape, TypedRows queries, TypedRows grad_out, TypedRows out, const float* lse,
                         std::int64_t first, std::int64_t tokens, int head, std::byte* cell) {
  pack_query(shape, queries, first, tokens, head, cell);
  pack_grad_out(shape, grad_out, first, tokens, head, cell + grad_out_offset(shape, tokens));
  pack_row_statistics(shape, grad_out, out, lse, first, tokens, head, cell + row_statistics_offset(shape, tokens));
}

double sink_gradient(Type cells, TypedRows grad_out, TypedRows out, const float* lse, int query_head, float sink) {
  double gradient = 0;
  for (std::int64_t token = 0; token < grad_out.tokens; ++token) {
    const double weight = std::exp(static_cast<double>(sink) - static_cast<double>(lse[token * grad_out.heads + query_head]));
    gradient -=
        weight * dot(grad_out.row(token, query_head), grad_out.type, cells, out.row(token, query_head), out.type, grad_out.dim);
  }
  return gradient;
}

void clear_gradient(Role role, const CellShape& shape, std::int64_t tokens, std::byte* cell) {
  std::fill_n(reinterpret_cast<float*>(cell), cell_bytes(role, shape, tokens) / std::int64_t{sizeof(float)}, 0.0F);
}

void settle_gradient(Role role, const CellShape& shape, std::int64_t tokens, const std::byte* gradient, std::byte* share) {
  const float* from = reinterpret_cast<const float*>(gradient);
  float* to = reinterpret_cast<float*>(share);
  for (std::int64_t piece = pieces_of(role, shape, tokens); piece > 0; --piece, from += kGradientStride, to += kStrip) {
    for (int lane = 0; lane < kStrip; ++lane) to[lane] = settled(from[lane], from[kStrip + lane]);
  }
}

void add_share(const KernelTable& kernels, Role role, const CellShape& shape, std::int64_t tokens, const std::byte* share,
               std::byte* gradient) {
  kernels.add_share(pieces_of(role, shape, tokens), reinterpret_cast<const float*>(share), reinterpret_cast<float*>(gradient));
}

void finish_grad_query(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                       std::int64_t first) {
  finish_queries<Totals>(shape, cell, tokens, head, grad_query, first);
}

void finish_grad_key_value(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                           TypedOutRows grad_value, std::int64_t first) {
  finish_key_values<Totals>(shape, cell, tokens, head, grad_key, grad_value, first);
}

void finish_grad_query_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                             std::int64_t first) {
  finish_queries<Shares>(shape, cell, tokens, head, grad_query, first);
}

void finish_grad_key_value_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head,
                                 TypedOutRows grad_key, TypedOutRows grad_value, std::int64_t first) {
  finish_key_values<Shares>(shape, cell, tokens, head, grad_key, grad_value, first);
}

}  // namespace gyre
