// --rope and what belongs to it.
#pragma once

#include <optional>

#include "kernels/dual_chunk.hpp"
#include "kernels/rotary.hpp"
#include "launch/given.hpp"

namespace gyre {

/// Of --rope BASE[,half|interleaved[,DIM]], and one of --yarn SCALE,ORIGINAL, --rope-linear SCALE and --rope-ntk SCALE at most.
/// What depends on the head dim is left to Problem::validate. Throws std::invalid_argument naming option, value and remedy.
std::optional<Rotary> rotary_of(const Given& given);

/// Of --dual-chunk CHUNK,LOCAL[,ORIGINAL].
std::optional<DualChunk> dual_chunk_of(const Given& given);

}  // namespace gyre
