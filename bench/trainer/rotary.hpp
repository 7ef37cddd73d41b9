// Rotary positions (Su 2021, 2104.09864), pairs (k, k + head_dim / 2): pair k of a row at position t is turned by t base^(-2k /
// head_dim).
//
// A rank's rows are not contiguous: each is turned by its position in the whole sequence. The gradient is turned back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace gyre::trainer {

enum class Turn : std::uint8_t { forward, back };

template <class Real>
class Rotary {
 public:
  /// Angles in float64: in fp32 they are off by 1e-6 at 700 tokens.
  Rotary(std::span<const std::int64_t> positions, int head_dim, double base);

  /// rows: [positions, heads, head_dim], in place.
  void turn(Real* rows, int heads, Turn direction) const;

 private:
  int head_dim_;
  std::vector<Real> cosines_, sines_;  // [positions, head_dim / 2]
};

}  // namespace gyre::trainer
