// Results that are none: inputs are finite, but scores beyond 1e30 or sums beyond float32 leave NaN and infinities, or rows that
// seem to have seen nothing. Looked for in every row of every run, at the speed of memory.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// One value of a result that cannot be.
struct Unsound {
  static constexpr int kLogSumExp = -1;
  static constexpr std::int64_t kNowhere = std::numeric_limits<std::int64_t>::max();

  std::int64_t token = kNowhere;
  int head = 0;
  int channel = kLogSumExp;  // of the output, or kLogSumExp
  float value = 0;
};

/// The first of this rank's rows (in the order of its tokens, then heads) that has one: an output that is not finite, a log-sum-exp
/// of NaN or plus infinity, or of minus infinity where the mask lets the row see a key. Nothing if all is well. Local.
/// out [sum of ranges, heads, value_dim], lse [sum of ranges, heads].
std::optional<Unsound> find_unsound(Team& team, const Problem& problem, std::span<const Range> tokens, const float* out,
                                    const float* lse);

/// The one of the lowest token of all ranks, on every rank. Collective.
std::optional<Unsound> first_of_ranks(Transport& transport, const std::optional<Unsound>& mine);

/// "token 5, head 0, channel 2 of the output is inf: ...", with the limits and a remedy.
std::string to_text(const Unsound& unsound);

}  // namespace gyre
