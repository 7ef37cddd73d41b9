// Pairs that query heads choose of an attention's mask, for callers from another language.
#pragma once

#include <string>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "runtime/attention.hpp"

namespace gyre {

struct ChoiceOfPairs {
  std::string sparse;  // as --sparse: a choice for all heads, or a file with one for each
  TypedRows queries, keys;
};

/// estimate_mask of the attention's own rows, with its instruction set. problem: of the attention, as it was made; threads: of this
/// rank. given: local; what it throws is thrown on every rank. Collective. Throws std::invalid_argument.
Mask choose_pairs(Transport& transport, const Attention& attention, const Problem& problem, int threads,
                  FunctionRef<ChoiceOfPairs()> given);

}  // namespace gyre
