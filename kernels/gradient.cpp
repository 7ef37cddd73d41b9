#include "kernels/gradient.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
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

/// Where the channels of a row are among the numbers of a piece: channel c at first + c * stride; form_floats: to the next form's.
struct RowPlace {
  const float* piece;
  std::int64_t first, stride;
  std::int64_t token;  // of the unit, whose row it is
  std::int64_t form_floats = 0;
};

template <class Numbers>
void finish_row(const RowPlace& from, int channels, Type type, std::byte* row) {
  float values[kPieceChannels];
  for (int begin = 0; begin < channels; begin += kPieceChannels) {
    const int count = std::min(kPieceChannels, channels - begin);
    for (int c = 0; c < count; ++c) values[c] = Numbers::number(from.piece, from.first + (begin + c) * from.stride);
    convert(values, Type::f32, row + begin * type_bytes(type), type, count);
  }
}

/// Rows turned back: the sum of what their forms have.
template <class Numbers>
class TurnedBack {
 public:
  TurnedBack(const Turned& turned, int forms, int head_dim) : forms_(forms), head_dim_(head_dim) {
    for (int form = 0; form < forms; ++form) turners_[form].emplace(*turned.table, turned.stretches[form]);
  }

  void finish_row(const RowPlace& from, Type type, std::byte* row) {
    float gradient[2 * kMostRotaryPairs];
    double sum[2 * kMostRotaryPairs] = {};
    for (int form = 0; form < forms_; ++form) {
      turners_[form]->go_to(from.token);
      const float* const piece = from.piece + form * from.form_floats;
      for (int c = 0; c < head_dim_; ++c) gradient[c] = Numbers::number(piece, from.first + c * from.stride);
      turners_[form]->add_turned_back(gradient, head_dim_, sum);
    }
    for (int c = 0; c < head_dim_; ++c) gradient[c] = static_cast<float>(sum[c]);
    convert(gradient, Type::f32, row, type, head_dim_);
  }

 private:
  std::optional<Turner> turners_[kMostForms];
  int forms_, head_dim_;
};

/// Calls finish(row, as finish_row has it) for rows as they are, or turned back.
template <class Numbers, class Finish>
void each_row(std::int64_t rows, int forms, int head_dim, const Turned& turned, Finish&& finish) {
  if (turned.table == nullptr) {
    for (std::int64_t row = 0; row < rows; ++row) {
      finish(row, [&](const RowPlace& from, Type type, std::byte* to) { finish_row<Numbers>(from, head_dim, type, to); });
    }
    return;
  }
  TurnedBack<Numbers> back(turned, forms, head_dim);
  for (std::int64_t row = 0; row < rows; ++row) {
    finish(row, [&](const RowPlace& from, Type type, std::byte* to) { back.finish_row(from, type, to); });
  }
}

template <class Numbers>
void finish_queries(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                    std::int64_t first, const Turned& turned) {
  const float* const strips = reinterpret_cast<const float*>(cell);
  const std::int64_t strip_floats = std::int64_t{Numbers::kStride} * shape.head_dim;
  const std::int64_t form_floats = query_strips(shape, tokens) * strip_floats;
  each_row<Numbers>(tokens * shape.group, shape.forms, shape.head_dim, turned, [&](std::int64_t row, auto&& finish) {
    const auto [token, member] = query_row(shape, tokens, row);
    finish({.piece = strips + row / kStrip * strip_floats,
            .first = row % kStrip,
            .stride = kStrip,
            .token = token,
            .form_floats = form_floats},
           grad_query.type, grad_query.row(first + token, head * shape.group + member));
  });
}

template <class Numbers>
void finish_key_values(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                       TypedOutRows grad_value, std::int64_t first, const Turned& turned) {
  const float* const keys = reinterpret_cast<const float*>(cell);
  const float* const values = keys + grad_key_floats(shape, tokens) / kStrip * Numbers::kStride;
  each_row<Numbers>(tokens, 1, shape.head_dim, turned, [&](std::int64_t row, auto&& finish) {
    const std::int64_t token = shape.residues.token_at(tokens, row);
    finish({.piece = keys, .first = row * round_up(shape.head_dim, kStrip), .stride = 1, .token = token}, grad_key.type,
           grad_key.row(first + token, head));
    finish_row<Numbers>({.piece = values, .first = row * round_up(shape.value_dim, kStrip), .stride = 1, .token = token},
                        shape.value_dim, grad_value.type, grad_value.row(first + token, head));
  });
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
    const QueryRow at = query_row(shape, tokens, row);
    const std::int64_t token = first + at.token;
    const int query_head = head * shape.group + at.member;
    const float log_sum_exp = lse[token * grad_out.heads + query_head];
    if (std::isinf(log_sum_exp)) continue;
    lane[0] = static_cast<float>(static_cast<double>(log_sum_exp) * std::numbers::log2e);
    lane[kStrip] = static_cast<float>(
        dot(grad_out.row(token, query_head), grad_out.type, shape.type, out.row(token, query_head), out.type, shape.value_dim));
  }
}

void pack_backward_query(const CellShape& shape, TypedRows queries, TypedRows grad_out, TypedRows out, const float* lse,
                         std::int64_t first, std::int64_t tokens, int head, std::byte* cell, const Turned& turned) {
  pack_query(shape, queries, first, tokens, head, cell, turned);
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
                       std::int64_t first, const Turned& turned) {
  finish_queries<Totals>(shape, cell, tokens, head, grad_query, first, turned);
}

void finish_grad_key_value(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_key,
                           TypedOutRows grad_value, std::int64_t first, const Turned& turned) {
  finish_key_values<Totals>(shape, cell, tokens, head, grad_key, grad_value, first, turned);
}

void finish_grad_query_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows grad_query,
                             std::int64_t first, const Turned& turned) {
  finish_queries<Shares>(shape, cell, tokens, head, grad_query, first, turned);
}

void finish_grad_key_value_share(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head,
                                 TypedOutRows grad_key, TypedOutRows grad_value, std::int64_t first, const Turned& turned) {
  finish_key_values<Shares>(shape, cell, tokens, head, grad_key, grad_value, first, turned);
}

}  // namespace gyre
