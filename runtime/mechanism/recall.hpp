// What a selection leaves of attention: the share of the exact weights that its pairs have.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/mechanism/estimate.hpp"

namespace gyre {

/// Of rows, each of one query head, that see a key.
struct Recall {
  std::int64_t rows = 0;
  double mean = 1;
  double least = 1;
};

/// kernels: that turn rows; of nothing else. For these query tokens, each with all its heads: the sum of the weights of
/// problem.mask that pairs of `kept` have, in float64 by the definition (kernels/reference.hpp). kept is within problem.mask. The
/// same on every rank. Collective; rows as for an estimate, of queries and keys as problem.type holds them, turned where the
/// problem has rotary positions, queries in the form that a key sees where it has dual chunks.
Recall measure_recall(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem, const Mask& kept,
                      const EstimateRows& rows, std::span<const std::int64_t> tokens);

}  // namespace gyre
