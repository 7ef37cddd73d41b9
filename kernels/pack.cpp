#include "kernels/pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <type_traits>

#include "kernels/convert.hpp"
#include "kernels/partial.hpp"
#include "kernels/result.hpp"

namespace gyre {
namespace {

/// Four lanes in the compilers' vector extension, of words of a cell: 32 bits (fp32, or a pair of bf16) or 16. Rows are taken four
/// at a time: few streams, whatever their stride is, and a strip that stays in the nearest cache.
typedef float Floats __attribute__((vector_size(16)));
typedef std::uint16_t Halves __attribute__((vector_size(8)));
template <class Word>
using Four = std::conditional_t<sizeof(Word) == 4, Floats, Halves>;

template <class Word>
Four<Word> load(const void* from) {
  Four<Word> four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

template <class Word>
void store(Word* to, Four<Word> four) {
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
  std::int64_t tokens[kStrip] = {};  // of the unit
  int count = 0;
  Type type = Type::f32;
};

/// Calls take(rows, first channel, channels) for the rows in the type of cells: where they lie, or converted piece by piece.
template <class Take>
void take_rows(const Sources& from, Type to, int dim, Take&& take) {
  if (from.type == to) return take(from.rows, 0, dim);
  alignas(kAlignment) float piece[kStrip][kPieceChannels];
  const std::byte* rows[kStrip] = {};
  for (int row = 0; row < from.count; ++row) rows[row] = reinterpret_cast<const std::byte*>(piece[row]);
  for (int begin = 0; begin < dim; begin += kPieceChannels) {
    const int channels = std::min(kPieceChannels, dim - begin);
    for (int row = 0; row < from.count; ++row)
      convert(from.rows[row] + begin * type_bytes(from.type), from.type, piece[row], to, channels);
    take(rows, begin, channels);
  }
}

/// Four neighbouring lanes of a strip [words][16] from four rows.
template <class Word>
void pack_lanes(const std::byte* const* rows, int words, Word* lanes) {
  int w = 0;
  for (; w + 4 <= words; w += 4) {
    Four<Word> square[4];
    for (int row = 0; row < 4; ++row) square[row] = load<Word>(rows[row] + w * sizeof(Word));
    transpose(square);
    for (int k = 0; k < 4; ++k) store(lanes + (w + k) * kStrip, square[k]);
  }
  for (; w < words; ++w) {
    for (int row = 0; row < 4; ++row) std::memcpy(lanes + w * kStrip + row, rows[row] + w * sizeof(Word), sizeof(Word));
  }
}

/// A strip [words][16]; lanes without a row become zero, and so does what a last word has no element for.
template <class Word>
void pack_strip(const Sources& from, Type to, int dim, Word* strip) {
  const int bytes = static_cast<int>(type_bytes(to));
  take_rows(from, to, dim, [&](const std::byte* const* rows, int begin, int channels) {
    Word* const place = strip + begin * bytes / int{sizeof(Word)} * kStrip;
    const int words = channels * bytes / int{sizeof(Word)}, rest = channels * bytes % int{sizeof(Word)};
    int lane = 0;
    for (; lane + 4 <= from.count; lane += 4) pack_lanes(rows + lane, words, place + lane);
    for (; lane < kStrip; ++lane) {
      for (int w = 0; w < words; ++w) {
        place[w * kStrip + lane] = Word{0};
        if (lane < from.count) std::memcpy(place + w * kStrip + lane, rows[lane] + w * sizeof(Word), sizeof(Word));
      }
    }
    for (lane = 0; rest > 0 && lane < kStrip; ++lane) {
      place[words * kStrip + lane] = Word{0};
      if (lane < from.count) std::memcpy(place + words * kStrip + lane, rows[lane] + words * sizeof(Word), rest);
    }
  });
}

constexpr int kValueRows = 4;  // keys whose values are packed at a time; an even number

/// Copies some keys' value channels into their places in each block [keys][8]; channels past the end become zero.
template <class Raw>
void pack_values(const std::byte* const* rows, int count, int channels, std::int64_t block_elements, Raw* place) {
  for (int channel = 0; channel < channels; channel += kChannels, place += block_elements) {
    const int some = std::min(kChannels, channels - channel);
    for (int row = 0; row < count; ++row) {
      Raw* const end = place + (row + 1) * kChannels;
      std::memcpy(end - kChannels, rows[row] + channel * sizeof(Raw), some * sizeof(Raw));
      std::fill(end - kChannels + some, end, Raw{0});
    }
  }
}

/// The same for blocks [keys / 2][8][2]; a last key without a partner gets zeros beside it.
void pack_value_pairs(const std::byte* const* rows, int count, int channels, std::int64_t block_elements, std::uint16_t* place) {
  for (int channel = 0; channel < channels; channel += kChannels, place += block_elements) {
    const std::size_t bytes = std::min(kChannels, channels - channel) * sizeof(std::uint16_t);
    for (int row = 0; row < count; row += 2) {
      std::uint16_t pair[2][kChannels] = {};
      std::memcpy(pair[0], rows[row] + channel * sizeof(std::uint16_t), bytes);
      if (row + 1 < count) std::memcpy(pair[1], rows[row + 1] + channel * sizeof(std::uint16_t), bytes);
      std::uint16_t* const words = place + std::ptrdiff_t{row} * kChannels;
      for (std::ptrdiff_t c = 0; c < kChannels; ++c) words[2 * c] = pair[0][c], words[2 * c + 1] = pair[1][c];
    }
  }
}

/// Rows of a strip, turned one after the other.
class TurnedRows {
 public:
  TurnedRows(const Turned& turned, int form, int head_dim) : turner_(*turned.table, turned.stretches[form]), head_dim_(head_dim) {}

  /// Where the rows lie once they are turned, until the next call.
  Sources take(const Sources& from) {
    Sources rows{.count = from.count, .type = Type::f32};
    for (int lane = 0; lane < from.count; ++lane) {
      turner_.go_to(from.tokens[lane]);
      convert(from.rows[lane], from.type, rows_[lane], Type::f32, head_dim_);
      turner_.turn(rows_[lane]);
      rows.rows[lane] = reinterpret_cast<const std::byte*>(rows_[lane]);
    }
    return rows;
  }

 private:
  Turner turner_;
  int head_dim_;
  alignas(kAlignment) float rows_[kStrip][2 * kMostRotaryPairs];
};

/// Calls pack(rows) for the strips of a cell, each as it lies or turned: rows(strip) are those that it is of.
template <class RowsOfStrip, class Pack>
void each_strip(const CellShape& shape, std::int64_t strips, const Turned& turned, int form, RowsOfStrip&& rows_of, Pack&& pack) {
  if (turned.table == nullptr) {
    for (std::int64_t strip = 0; strip < strips; ++strip) pack(rows_of(strip));
    return;
  }
  TurnedRows rows(turned, form, shape.head_dim);
  for (std::int64_t strip = 0; strip < strips; ++strip) pack(rows.take(rows_of(strip)));
}

/// Word is what a strip is transposed in: an element, or a pair of them.
template <class Word>
void pack_query_cell(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head,
                     const Turned& turned, Word* strip) {
  const std::int64_t rows = tokens * shape.group;
  const std::int64_t word = sizeof(Word) / type_bytes(shape.type);
  const std::int64_t used = cell_dims(shape) / word * kStrip, stride = query_strip_elements(shape) / word;
  const auto rows_of = [&](std::int64_t index) {
    const std::int64_t begin = index * kStrip;
    Sources lanes{.count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - begin)), .type = queries.type};
    for (int lane = 0; lane < lanes.count; ++lane) {
      const QueryRow row = query_row(shape, tokens, begin + lane);
      lanes.rows[lane] = queries.row(first + row.token, head * shape.group + row.member), lanes.tokens[lane] = row.token;
    }
    return lanes;
  };
  for (int form = 0; form < shape.forms; ++form) {
    each_strip(shape, query_strips(shape, tokens), turned, form, rows_of, [&](const Sources& lanes) {
      pack_strip(lanes, shape.type, shape.head_dim, strip);
      std::fill(strip + used, strip + stride, Word{0});
      strip += stride;
    });
  }
}

/// Of a unit of so many tokens, whose first is row `first`: up to `most` rows from the place `begin` on.
Sources sources(TypedRows rows, ResidueOrder order, std::int64_t first, std::int64_t tokens, std::int64_t begin, std::int64_t most,
                int head) {
  Sources from{.count = static_cast<int>(std::min(most, tokens - begin)), .type = rows.type};
  for (int row = 0; row < from.count; ++row) {
    from.tokens[row] = order.token_at(tokens, begin + row);
    from.rows[row] = rows.row(first + from.tokens[row], head);
  }
  return from;
}

template <class Word>
void pack_keys(const CellShape& shape, TypedRows keys, std::int64_t first, std::int64_t tokens, int head, const Turned& turned,
               Word* key) {
  const std::int64_t word = sizeof(Word) / type_bytes(shape.type), stride = kStrip * cell_dims(shape) / word;
  Word* const end = key + value_offset_elements(shape, tokens) / word;
  const auto rows_of = [&](std::int64_t strip) {
    return sources(keys, shape.residues, first, tokens, strip * kStrip, kStrip, head);
  };
  each_strip(shape, round_up(tokens, kStrip) / kStrip, turned, 0, rows_of, [&](const Sources& rows) {
    pack_strip(rows, shape.type, shape.head_dim, key);
    key += stride;
  });
  std::fill(key, end, Word{0});
}

template <class Raw>
void pack_value_blocks(const CellShape& shape, TypedRows values, std::int64_t first, std::int64_t tokens, int head, Raw* value) {
  const std::int64_t block_elements = round_up(tokens, kStrip) * kChannels;
  for (std::int64_t row = 0; row < tokens; row += kValueRows) {
    const Sources from = sources(values, shape.residues, first, tokens, row, kValueRows, head);
    take_rows(from, shape.type, shape.value_dim, [&](const std::byte* const* rows, int begin, int channels) {
      Raw* const place = value + begin / kChannels * block_elements + row * kChannels;
      if constexpr (std::is_same_v<Raw, std::uint16_t>) {
        if (pair_of(shape.type) == 2) return pack_value_pairs(rows, from.count, channels, block_elements, place);
      }
      pack_values(rows, from.count, channels, block_elements, place);
    });
  }
  const std::int64_t used = round_up(tokens, pair_of(shape.type)) * kChannels;
  for (int channel = 0; channel < shape.value_dim; channel += kChannels, value += block_elements) {
    std::fill(value + used, value + block_elements, Raw{0});
  }
}

/// How the strips of a cell that is finished lie: from channel to channel, and what one of its numbers is.
struct PartialStrips {
  static constexpr int kStride = kNumeratorStride;
  static std::int64_t floats(const CellShape& shape) { return partial_strip_floats(shape); }
  static float number(const float* at) { return settled(at[0], at[kStrip]); }
  static Floats numbers(const float* at) { return settled(load<float>(at), load<float>(at + kStrip)); }
};
struct ResultStrips {
  static constexpr int kStride = kStrip;
  static std::int64_t floats(const CellShape& shape) { return result_strip_floats(shape); }
  static float number(const float* at) { return *at; }
  static Floats numbers(const float* at) { return load<float>(at); }
};

/// Four neighbouring lanes of a strip, divided by their sums, into four rows.
template <class Strips>
void finish_lanes(const float* lanes, Floats sums, int channels, float* const* rows) {
  int channel = 0;
  for (; channel + 4 <= channels; channel += 4) {
    Floats square[4];
    for (int k = 0; k < 4; ++k) square[k] = Strips::numbers(lanes + std::ptrdiff_t{channel + k} * Strips::kStride) / sums;
    transpose(square);
    for (int row = 0; row < 4; ++row) store(rows[row] + channel, square[row]);
  }
  for (; channel < channels; ++channel) {
    for (int row = 0; row < 4; ++row) rows[row][channel] = Strips::number(lanes + channel * Strips::kStride + row) / sums[row];
  }
}

/// Some channels of one strip's rows.
template <class Strips>
void finish_channels(const float* numerator, const float (&divisor)[kStrip], int channels, int count, float* const* rows) {
  int lane = 0;
  for (; lane + 4 <= count; lane += 4) finish_lanes<Strips>(numerator + lane, load<float>(divisor + lane), channels, rows + lane);
  for (; lane < count; ++lane) {
    for (int channel = 0; channel < channels; ++channel)
      rows[lane][channel] = Strips::number(numerator + channel * Strips::kStride + lane) / divisor[lane];
  }
}

/// Rows of one strip. The numerator of a row that saw nothing is 0, so any divisor will do.
template <class Strips>
void finish_strip(const float* strip, const float (&sum)[kStrip], int value_dim, int count, Type type,
                  std::byte* const (&rows)[kStrip]) {
  float divisor[kStrip];
  for (int lane = 0; lane < kStrip; ++lane) divisor[lane] = sum[lane] == 0.0F ? 1.0F : sum[lane];
  float* floats[kStrip] = {};
  if (type == Type::f32) {
    for (int lane = 0; lane < count; ++lane) floats[lane] = reinterpret_cast<float*>(rows[lane]);
    return finish_channels<Strips>(strip, divisor, value_dim, count, floats);
  }
  alignas(kAlignment) float piece[kStrip][kPieceChannels];
  for (int lane = 0; lane < count; ++lane) floats[lane] = piece[lane];
  for (int begin = 0; begin < value_dim; begin += kPieceChannels) {
    const int channels = std::min(kPieceChannels, value_dim - begin);
    finish_channels<Strips>(strip + std::ptrdiff_t{begin} * Strips::kStride, divisor, channels, count, floats);
    for (int lane = 0; lane < count; ++lane) convert(piece[lane], Type::f32, rows[lane] + begin * type_bytes(type), type, channels);
  }
}

/// What a row's weights add up to.
struct Denominator {
  float sum = 0;          // in units of 2^maximum; 0: nothing was seen
  float log_sum_exp = 0;  // natural
  float left = 1;         // of the row after its division by the sum
};

Denominator denominator_of(float maximum, float sum) {
  if (sum == 0.0F) return {.sum = sum, .log_sum_exp = -std::numeric_limits<float>::infinity()};
  const double log_sum_exp = std::numbers::ln2 * static_cast<double>(maximum) + std::log(static_cast<double>(sum));
  return {.sum = sum, .log_sum_exp = static_cast<float>(log_sum_exp)};
}

/// With a sink the sum grows by exp(lse' - lse). Where fp32 does not hold it, the row is divided twice.
Denominator denominator_of(float maximum, float sum, float sink_logit) {
  const auto sink = static_cast<double>(sink_logit);
  if (sum == 0.0F) return {.sum = sum, .log_sum_exp = sink_logit};
  const double keys = std::numbers::ln2 * static_cast<double>(maximum) + std::log(static_cast<double>(sum));
  const double grown = static_cast<double>(sum) * (1 + std::exp(sink - keys));
  const double held = std::min(grown, static_cast<double>(std::numeric_limits<float>::max()));
  return {.sum = static_cast<float>(held),
          .log_sum_exp = static_cast<float>(std::max(keys, sink) + std::log1p(std::exp(-std::abs(sink - keys)))),
          .left = static_cast<float>(held / grown)};
}

void multiply_row(std::byte* row, Type type, int channels, float factor) {
  float piece[kPieceChannels];
  for (int begin = 0; begin < channels; begin += kPieceChannels, row += kPieceChannels * type_bytes(type)) {
    const int count = std::min(kPieceChannels, channels - begin);
    convert(row, type, piece, Type::f32, count);
    for (int c = 0; c < count; ++c) piece[c] *= factor;
    convert(piece, Type::f32, row, type, count);
  }
}

template <class Strips>
void finish_cell(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                 std::int64_t first, const float* sinks) {
  const float* strip = reinterpret_cast<const float*>(cell);
  const std::int64_t rows = tokens * shape.group;
  for (std::int64_t row = 0; row < rows; row += kStrip, strip += Strips::floats(shape)) {
    const int count = static_cast<int>(std::min<std::int64_t>(kStrip, rows - row));
    const float* const maximum = strip + round_up(shape.value_dim, kChannels) * Strips::kStride;
    std::byte* lanes[kStrip] = {};
    float sum[kStrip] = {}, left[kStrip] = {};
    for (int lane = 0; lane < count; ++lane) {
      const QueryRow at = query_row(shape, tokens, row + lane);
      const std::int64_t token = first + at.token;
      const int query_head = head * shape.group + at.member;
      const float seen = Strips::number(maximum + kStrip + lane);
      const Denominator found =
          sinks == nullptr ? denominator_of(maximum[lane], seen) : denominator_of(maximum[lane], seen, sinks[query_head]);
      lanes[lane] = out.row(token, query_head);
      sum[lane] = found.sum, left[lane] = found.left;
      if (lse != nullptr) lse[token * out.heads + query_head] = found.log_sum_exp;
    }
    finish_strip<Strips>(strip, sum, shape.value_dim, count, out.type, lanes);
    for (int lane = 0; lane < count; ++lane) {
      if (left[lane] != 1.0F) multiply_row(lanes[lane], out.type, shape.value_dim, left[lane]);
    }
  }
}

}  // namespace

void pack_query(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head, std::byte* cell,
                const Turned& turned) {
  if (shape.type == Type::f16) {
    return pack_query_cell(shape, queries, first, tokens, head, turned, reinterpret_cast<std::uint16_t*>(cell));
  }
  pack_query_cell(shape, queries, first, tokens, head, turned, reinterpret_cast<float*>(cell));
}

void pack_key_value(const CellShape& shape, TypedRows keys, TypedRows values, std::int64_t first, std::int64_t tokens, int head,
                    std::byte* cell, const Turned& turned) {
  std::byte* const value = cell + value_offset_elements(shape, tokens) * type_bytes(shape.type);
  if (shape.type == Type::f16) {
    pack_keys(shape, keys, first, tokens, head, turned, reinterpret_cast<std::uint16_t*>(cell));
  } else {
    pack_keys(shape, keys, first, tokens, head, turned, reinterpret_cast<float*>(cell));
  }
  if (shape.type == Type::f32) {
    pack_value_blocks(shape, values, first, tokens, head, reinterpret_cast<float*>(value));
  } else {
    pack_value_blocks(shape, values, first, tokens, head, reinterpret_cast<std::uint16_t*>(value));
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

void finish_partial(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                    std::int64_t first, const float* sinks) {
  finish_cell<PartialStrips>(shape, cell, tokens, head, out, lse, first, sinks);
}

void finish_result(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                   std::int64_t first, const float* sinks) {
  finish_cell<ResultStrips>(shape, cell, tokens, head, out, lse, first, sinks);
}

}  // namespace gyre
