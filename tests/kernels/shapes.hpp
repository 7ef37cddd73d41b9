// Cases that tests of several passes share.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attend_case.hpp"

namespace gyre::testing {

/// Any dims, units, groups, types and masks.
CaseShape random_shape(std::uint64_t seed);

/// Shapes with blocks that run over cells, ragged ends, rows that see nothing, and (size 30) weights that underflow.
std::vector<CaseShape> shapes_of_bits();

bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace gyre::testing
