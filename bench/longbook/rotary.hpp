// Rotary positions (Su 2021, 2104.09864), pairs (2k, 2k + 1): pair k of a row at position t is turned by t base^(-2k / dims).
#pragma once

#include <span>
#include <vector>

#include "bench/longbook/llama_shape.hpp"
#include "partition/units.hpp"

namespace gyre::longbook {

class Rotary {
 public:
  /// rows: positions of this rank's rows. Angles in float64.
  Rotary(const LlamaShape& shape, std::span<const Range> rows);

  /// rows: [positions, heads, head_dim], in place.
  void turn(float* rows, int heads) const;

 private:
  int head_dim_, pairs_;
  std::vector<float> turns_;  // [positions, pairs, 2] cosine and sine
};

}  // namespace gyre::longbook
