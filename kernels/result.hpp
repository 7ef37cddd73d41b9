// Results: what travels of a partial where query rows go from rank to rank, in half of its bytes. A result has the form of the sums
// that a unit of keys gives from zero, before they are folded into a partial, and is combined with one as they are: attends of two
// ranks over two sets of keys are then one attend over both, whose last unit is the other rank's keys.
//
// What a settled partial loses is half a unit in the last place of each number: against the bound of 4 eps that an output has,
// combining eight of them is next to nothing, and the partial that they come into goes on compensating its additions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {

/// A number of a partial as it leaves it: with what its additions lost, rounded once. Minus zero becomes zero, as it does where it
/// is added to another partial's. Also of vectors of the compilers' extension.
template <class Number>
Number settled(Number number, Number lost) {
  return number + lost + Number{};
}

/// Writes the result of a partial of `tokens` tokens, of shape.group rows each; all of the cell but its trailer, if it has one.
/// Rows past the unit's end become rows that saw nothing: numerator 0, sum 0, maximum kEmptyMaximum. The partial stays as it is.
void settle_partial(const CellShape& shape, const std::byte* partial, std::int64_t tokens, std::byte* result);

/// Adds a result to the partial of the same rows, bit for bit as an attend with these kernels adds the sums of one more unit of
/// keys. Rows that saw nothing change no bit of the partial; a row of it that is still clear takes the result's numbers over. The
/// two must have met different keys. In which order results are combined changes only how they are rounded.
void combine(const KernelTable& kernels, const CellShape& shape, std::int64_t tokens, const std::byte* result, std::byte* partial);

}  // namespace gyre
