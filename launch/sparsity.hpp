// Of `gyre run --sparse`: the mask that queries and keys choose before the attention is built, and what the report says of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "launch/inputs.hpp"
#include "launch/run_request.hpp"
#include "runtime/mechanism/estimate.hpp"
#include "runtime/mechanism/recall.hpp"

namespace gyre {

struct Sparsity {
  std::string choice;                   // as --sparse says it
  Mask whole;                           // from which was chosen
  double whole_pairs = 0;               // visible in it, summed over query heads
  double estimate_seconds = 0;          // of the slowest rank, reading rows not counted
  std::optional<double> dense_seconds;  // of a call with the whole mask
  std::optional<Recall> recall;
};

/// Reads the rows that the estimate wants, zigzag, and drops them again; problem.mask becomes what they choose. Collective; throws
/// std::invalid_argument on every rank.
Sparsity choose_mask(Transport& transport, const Inputs& inputs, const RunRequest& request,
                     const std::vector<SparseChoice>& choices, int threads, Problem& problem);

}  // namespace gyre
