// Seeded random tensors. A value depends on (seed, tensor, global token, head, channel) alone, so every rank makes its own rows and
// the tensor is the same on any number of ranks.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/team.hpp"
#include "partition/units.hpp"

namespace gyre {

enum class Tensor : std::uint8_t { query, key, value, grad_out };

/// Normally distributed values of standard deviation 1 for token ranges one after the other: out [sum of ranges, heads, dim].
void fill_synthetic(std::uint64_t seed, Tensor tensor, std::span<const Range> tokens, int heads, int dim, Team& team, float* out);

}  // namespace gyre
