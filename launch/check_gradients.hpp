// The check of gradients: those of some queries and of some keys again in float64, over all ranks' rows, from the output and
// log-sum-exp that forward gave (which have a check of their own). No rank ever holds more than its own rows and the sampled ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "runtime/executor.hpp"
#include "runtime/problem.hpp"

namespace gyre {

struct GradientCheck {
  std::int64_t rows = 0;                                   // query and key tokens checked, each with all its heads
  double query_error = 0, key_error = 0, value_error = 0;  // largest, as a share of the largest of the gradient among those rows
  double share_of_bound = 0;                               // largest error over its own bound (ReferenceRow): above 1 it fails
  std::string failure;                                     // which is over it; empty if none is
};

/// Samples: tokens, ascending, of queries and of keys. query_rows, key_rows: the token ranges of this rank's operands, which have
/// been through a backward call. Collective; every rank returns the same.
GradientCheck check_gradients(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
                              std::span<const Range> key_rows, const GradientOperands& operands,
                              std::span<const std::int64_t> query_sample, std::span<const std::int64_t> key_sample);

}  // namespace gyre
