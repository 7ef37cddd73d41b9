#include "kernels/reference_rotary.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/convert.hpp"

namespace gyre {
namespace {

struct Turn {
  int x, y;  // channels
  double cosine, sine;
};

std::vector<Turn> turns_of(const Rotary& rotary, int head_dim, std::int64_t position) {
  const std::vector<double> frequencies = rotary.frequencies(head_dim);
  const int pairs = static_cast<int>(frequencies.size());
  std::vector<Turn> turns;
  for (int pair = 0; pair < pairs; ++pair) {
    const long double angle = static_cast<long double>(position) * static_cast<long double>(frequencies[pair]);
    const bool half = rotary.layout == RotaryLayout::half;
    turns.push_back({.x = half ? pair : 2 * pair,
                     .y = half ? pair + pairs : 2 * pair + 1,
                     .cosine = rotary.magnitude() * static_cast<double>(std::cos(angle)),
                     .sine = rotary.magnitude() * static_cast<double>(std::sin(angle))});
  }
  return turns;
}

float through(float number, Type cells) {
  if (cells == Type::bf16) return to_float(to_bf16(number));
  if (cells == Type::f16) return to_float(to_f16(number));
  return number;
}

}  // namespace

std::vector<float> reference_turned(TypedRows rows, const Rotary& rotary, std::span<const std::int64_t> positions, Type cells) {
  std::vector<float> all(static_cast<std::size_t>(rows.tokens * rows.heads * rows.dim));
  float* row = all.data();
  for (std::int64_t token = 0; token < rows.tokens; ++token) {
    const std::vector<Turn> turns = turns_of(rotary, rows.dim, positions[token]);
    for (int head = 0; head < rows.heads; ++head, row += rows.dim) {
      convert(rows.row(token, head), rows.type, row, Type::f32, rows.dim);
      for (const Turn& turn : turns) {
        const double x = row[turn.x], y = row[turn.y];
        row[turn.x] = static_cast<float>(x * turn.cosine - y * turn.sine);
        row[turn.y] = static_cast<float>(x * turn.sine + y * turn.cosine);
      }
      for (int dim = 0; dim < rows.dim; ++dim) row[dim] = through(row[dim], cells);
    }
  }
  return all;
}

std::int64_t reference_key_position(const std::optional<DualChunk>& dual_chunk, std::int64_t position) {
  if (!dual_chunk) return position;
  const std::int64_t length = dual_chunk->chunk - dual_chunk->local;
  return (position % length + length) % length;
}

std::int64_t reference_query_position(const std::optional<DualChunk>& dual_chunk, std::int64_t position, int form) {
  const std::int64_t own = reference_key_position(dual_chunk, position);
  if (form == 0) return own;
  const std::int64_t chunk = dual_chunk->chunk, length = chunk - dual_chunk->local;
  return form == 1 ? std::min(own + length, chunk) : std::min(2 * length - 1, chunk);
}

void reference_turn_back(std::span<double> value, std::span<double> bound, const Rotary& rotary, std::int64_t position) {
  constexpr double kRounding = 0x1p-24;
  for (const Turn& turn : turns_of(rotary, static_cast<int>(value.size()), position)) {
    const double x = value[turn.x], y = value[turn.y], of_x = bound[turn.x], of_y = bound[turn.y];
    const double cosine = std::abs(turn.cosine), sine = std::abs(turn.sine);
    value[turn.x] = x * turn.cosine + y * turn.sine;
    value[turn.y] = y * turn.cosine - x * turn.sine;
    bound[turn.x] = of_x * cosine + of_y * sine + kRounding * std::abs(value[turn.x]);
    bound[turn.y] = of_x * sine + of_y * cosine + kRounding * std::abs(value[turn.y]);
  }
}

}  // namespace gyre
