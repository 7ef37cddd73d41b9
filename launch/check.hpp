// The check of a result: some rows again in float64, by the definition, over all ranks' keys. No rank ever holds more than its own
// keys and a batch of rows, so the check fits wherever the run did.
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

struct CheckResult {
  std::int64_t rows = 0;      // query tokens checked, each with all its heads
  double out_error = 0;       // largest, as a share of the largest output among those rows
  double lse_error = 0;       // largest
  double share_of_bound = 0;  // largest error over its own bound (ReferencePartial), outputs and log-sum-exp: above 1 it fails
  std::string failure;        // what is wrong with the worst value; empty if nothing is
};

/// That many different query tokens (all, if there are not more), ascending, first and last among them. The same on every rank.
std::vector<std::int64_t> sample_tokens(std::int64_t tokens, std::int64_t rows, std::uint64_t seed);

/// Where a token lies among a rank's rows, which are those of these token ranges; -1 if elsewhere.
std::int64_t local_row(std::span<const Range> rows, std::int64_t token);

/// Compares out and lse of the sampled tokens. `query_rows`, `key_rows`: the token ranges of this rank's operands, ascending; lse
/// is not null. Collective; every rank returns the same.
CheckResult check_rows(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
                       std::span<const Range> key_rows, const Operands& operands, std::span<const std::int64_t> sample);

}  // namespace gyre
