// Residues: an order of a unit's tokens in which those a stride apart are neighbours. Where a mask shows every S-th key alone,
// neighbouring tokens see keys that are none of the others'; tokens of one residue class see the same.
//
//   stride 3, 8 tokens     place  0 1 2 | 3 4 5 | 6 7
//                          token  0 3 6 | 1 4 7 | 2 5
//
// Tokens are counted from the unit's first one, whatever its position is: which classes of two units meet is for bands to say.
#pragma once

#include <algorithm>
#include <cstdint>

#include "partition/units.hpp"

namespace gyre {

struct ResidueOrder {
  std::int64_t stride = 1;  // at least 1; 1: tokens as they come
  bool operator==(const ResidueOrder&) const = default;

  /// The places of the tokens of a class, of [0, stride), in a unit of so many tokens; ascending.
  constexpr Range places_of(std::int64_t tokens, std::int64_t residue) const {
    const std::int64_t whole = tokens / stride, longer = tokens % stride;  // the first classes have one token more
    const std::int64_t begin = residue * whole + std::min(residue, longer);
    return {begin, begin + whole + (residue < longer ? 1 : 0)};
  }
  constexpr std::int64_t place_of(std::int64_t tokens, std::int64_t token) const {
    return stride == 1 ? token : places_of(tokens, token % stride).begin + token / stride;
  }
  constexpr std::int64_t token_at(std::int64_t tokens, std::int64_t place) const {
    if (stride == 1) return place;
    const std::int64_t whole = tokens / stride, longer = tokens % stride, of_longer = longer * (whole + 1);
    if (place < of_longer) return place / (whole + 1) + place % (whole + 1) * stride;
    return longer + (place - of_longer) / whole + (place - of_longer) % whole * stride;
  }
};

}  // namespace gyre
