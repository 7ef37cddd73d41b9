// Gradients of all ranks added up, in the same order on every rank.
#pragma once

#include <span>

#include "comm/transport.hpp"

namespace gyre::transformer {

/// values become their sums over the ranks, added in rank order in float64 and rounded once: the same bits on every rank, so that
/// parameters stay the same without ever being compared. Collective; blocks.
void add_over_ranks(Transport& transport, std::span<float> values);

}  // namespace gyre::transformer
