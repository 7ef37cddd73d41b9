// Agreement before the first byte: ranks compare what they were asked to do, and fail together or not at all.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/transport.hpp"

namespace gyre {

/// Named inputs, in an order that is the same on every rank.
using Statement = std::vector<std::pair<std::string, std::string>>;

/// Compares one hash a rank; only when they differ do texts travel. Throws Disagreement with the same message on every rank: the
/// first differing input, its value on the lowest rank of the majority (of rank 0's side in a tie), and on the lowest rank that
/// has another:
///
///   ranks disagree on head_dim: 64 on rank 0, 128 on rank 2; give every rank the same
///   ranks disagree on --check: not given on rank 0, 5 on rank 1; give every rank the same
///
/// Collective.
void agree(Transport& transport, const Statement& statement);

/// Runs `step` on every rank; if it threw anything anywhere, every rank throws std::invalid_argument with the message of
/// the lowest rank that failed. Collective. Use it around whatever may fail on one rank alone (files, allocation).
void together(Transport& transport, const std::function<void()>& step);

}  // namespace gyre
