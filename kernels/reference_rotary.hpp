// Rotary positions as their definition says (rotary.hpp), row by row, without what kernels do to be quick: every angle by itself,
// in long double.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/dual_chunk.hpp"
#include "kernels/reference.hpp"
#include "kernels/rotary.hpp"
#include "kernels/tensor.hpp"

namespace gyre {

/// Rows [tokens, heads, dim] as cells of that type hold them: turned in float64, rounded to fp32, then to the type. positions: of
/// each token. So kernels and this have the same rows, but for one number in 1e8, and the reference's bounds hold as they are.
std::vector<float> reference_turned(TypedRows rows, const Rotary& rotary, std::span<const std::int64_t> positions, Type cells);

/// Where a query is turned to in a form, and a key: at their position of the key axis, or as dual chunk attention has it.
std::int64_t reference_query_position(const std::optional<DualChunk>& dual_chunk, std::int64_t position, int form);
std::int64_t reference_key_position(const std::optional<DualChunk>& dual_chunk, std::int64_t position);

/// The gradient of one row that was turned, turned back; bounds likewise, with what rounding it once more costs.
void reference_turn_back(std::span<double> value, std::span<double> bound, const Rotary& rotary, std::int64_t position);

}  // namespace gyre
