// Rows turned by rotary positions: as rotary.hpp has it, in float64, 8 pairs at a time. The compiler makes of such vectors what the
// instruction set has.
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/rotary.hpp"

namespace gyre {
namespace {

typedef double TurnedDoubles __attribute__((vector_size(64)));
typedef float TurnedFloats __attribute__((vector_size(32)));
typedef float TurnedPairs __attribute__((vector_size(64)));
constexpr int kPairsAtOnce = 8;

// By reference: the ABI of vectors that an instruction set lacks is nobody's.
template <class Vector, class Element>
GYRE_INLINE void load_any(const Element* from, Vector& vector) {
  __builtin_memcpy(&vector, from, sizeof vector);
}
template <class Vector, class Element>
GYRE_INLINE void store_any(Element* to, const Vector& vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

/// Complex numbers times others.
[[maybe_unused]] void turn_on(int pairs, const double* step_cosines, const double* step_sines, double* cosines, double* sines) {
  int pair = 0;
  for (; pair + kPairsAtOnce <= pairs; pair += kPairsAtOnce) {
    TurnedDoubles c, s, step_c, step_s;
    load_any(cosines + pair, c), load_any(sines + pair, s);
    load_any(step_cosines + pair, step_c), load_any(step_sines + pair, step_s);
    store_any(cosines + pair, c * step_c - s * step_s);
    store_any(sines + pair, s * step_c + c * step_s);
  }
  for (; pair < pairs; ++pair) {
    const double c = cosines[pair], s = sines[pair];
    cosines[pair] = c * step_cosines[pair] - s * step_sines[pair];
    sines[pair] = s * step_cosines[pair] + c * step_sines[pair];
  }
}

/// 8 pairs in place.
GYRE_INLINE void turn_together(const double* cosines, const double* sines, TurnedFloats& x, TurnedFloats& y) {
  TurnedDoubles c, s;
  load_any(cosines, c), load_any(sines, s);
  const auto a = __builtin_convertvector(x, TurnedDoubles), b = __builtin_convertvector(y, TurnedDoubles);
  x = __builtin_convertvector(a * c - b * s, TurnedFloats);
  y = __builtin_convertvector(a * s + b * c, TurnedFloats);
}

[[maybe_unused]] void turn(RotaryLayout layout, int pairs, const double* cosines, const double* sines, float* row) {
  const bool half = layout == RotaryLayout::half;
  int pair = 0;
  for (; half && pair + kPairsAtOnce <= pairs; pair += kPairsAtOnce) {
    TurnedFloats x, y;
    load_any(row + pair, x), load_any(row + pairs + pair, y);
    turn_together(cosines + pair, sines + pair, x, y);
    store_any(row + pair, x), store_any(row + pairs + pair, y);
  }
  for (; !half && pair + kPairsAtOnce <= pairs; pair += kPairsAtOnce) {
    TurnedPairs both;
    load_any(row + 2 * pair, both);
    TurnedFloats x = __builtin_shufflevector(both, both, 0, 2, 4, 6, 8, 10, 12, 14);
    TurnedFloats y = __builtin_shufflevector(both, both, 1, 3, 5, 7, 9, 11, 13, 15);
    turn_together(cosines + pair, sines + pair, x, y);
    store_any(row + 2 * pair, TurnedPairs(__builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)));
  }
  const int stride = half ? 1 : 2, partner = half ? pairs : 1;
  for (; pair < pairs; ++pair) {
    float* const at = row + pair * stride;
    const auto x = static_cast<double>(at[0]), y = static_cast<double>(at[partner]);
    at[0] = static_cast<float>(x * cosines[pair] - y * sines[pair]);
    at[partner] = static_cast<float>(x * sines[pair] + y * cosines[pair]);
  }
}

}  // namespace
}  // namespace gyre
