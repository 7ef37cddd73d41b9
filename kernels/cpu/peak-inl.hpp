// The bound beside which kernels are measured.
#pragma once

#include <time.h>

#include "kernels/cell.hpp"
#include "kernels/cpu/vec.hpp"

namespace gyre {
namespace {

/// 12 independent chains of multiply-adds in registers (2 pipes of latency 4 want 8), on numbers that are neither 0 nor 1.
template <class V>
double peak_flops(double seconds) {
  constexpr int kChains = 12;
  constexpr int kRounds = 8192;
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  volatile float factor_source = 0.9990234375F;
  volatile float addend_source = 0.0123456789F;
  const auto factor = V::set1(factor_source);
  const auto addend = V::set1(addend_source);
  typename V::Vector chain[kChains];
  GYRE_UNROLL for (int c = 0; c < kChains; ++c) chain[c] = V::set1(addend_source * static_cast<float>(c));

  const double begin = now();
  double end = begin;
  double operations = 0;
  while (end - begin < seconds) {
    for (int round = 0; round < kRounds; ++round) {
      GYRE_UNROLL for (int c = 0; c < kChains; ++c) {
        if constexpr (V::kPair == 1) chain[c] = V::fma(chain[c], factor, addend);
        if constexpr (V::kPair > 1) chain[c] = V::multiply(factor, addend, chain[c]);  // a chain is no word of theirs
      }
    }
    operations += 2.0 * kRounds * kChains * V::kLanes * V::kPair;
    end = now();
  }
  alignas(kAlignment) float result[V::kLanes];
  GYRE_UNROLL for (int c = 1; c < kChains; ++c) chain[0] = V::add(chain[0], chain[c]);
  V::store(result, chain[0]);
  volatile float sink = result[0];
  (void)sink;
  return end > begin ? operations / (end - begin) : 0.0;
}

}  // namespace
}  // namespace gyre
