// The shapes that the project's figures are of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/kernels/measure.hpp"

namespace gyre::bench {

/// Tokens that the table is made of.
struct Sizes {
  std::int64_t decoded = 65536, sparse = 32768, longer = 16384, usual = 4096, latent = 2048, shorter = 1024, brief = 512,
               window = 1024;
};
/// So short that all cases together take seconds; whether they run at all is what shows.
inline constexpr Sizes kTiny{
    .decoded = 1024, .sparse = 512, .longer = 512, .usual = 224, .latent = 128, .shorter = 160, .brief = 96, .window = 128};

/// What the table leaves open.
struct Usual {
  std::string isa{};  // empty: the best there is
  int threads = 1;    // not of cases that are about threads, nor of those against other libraries
};

/// No two of a name.
std::vector<Case> standard_cases(const Sizes& sizes, const Usual& usual);

/// Its name, and nothing beside it.
Case case_of(const Shape& shape);

/// In turns with attention that sees everything, of the same kind and at most 8,192 tokens: longer ones are no faster.
Case case_over_dense(const Shape& shape);

}  // namespace gyre::bench
