#include "kernels/score.hpp"

#include <bit>
#include <cmath>

namespace gyre {

std::vector<double> alibi_slopes(int query_heads) {
  const auto whole = static_cast<int>(std::bit_floor(static_cast<unsigned>(query_heads)));
  std::vector<double> slopes;
  for (int head = 0; head < whole; ++head) slopes.push_back(std::exp2(-8.0 * (head + 1) / whole));
  for (int head = 0; head < query_heads - whole; ++head) slopes.push_back(std::exp2(-8.0 * (2 * head + 1) / (2 * whole)));
  return slopes;
}

}  // namespace gyre
