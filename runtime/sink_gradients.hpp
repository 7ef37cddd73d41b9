// Gradients of learned sink logits: a number for each query head, from the rows of all ranks.
#pragma once

#include <vector>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "runtime/executor.hpp"
#include "runtime/problem.hpp"
#include "runtime/timeline.hpp"

namespace gyre {

class SinkGradients {
 public:
  /// Local.
  SinkGradients(const Problem& problem, int ranks);

  /// Exchanges nothing of meaning, once before the first call: transports keep room for what they have exchanged. Collective.
  void rehearse(Transport& transport);

  /// Each rank sums over its own rows in float64, and then all add the ranks' sums in the order of ranks: the same bits on every
  /// rank and in every call. With communication switched off, of its own rows alone. Collective where it is live; allocates
  /// nothing.
  void sum(Transport& transport, Team& team, const GradientOperands& operands, Wire wire);

 private:
  Type cells_;
  std::vector<double> mine_;  // [query heads]
  std::vector<double> all_;   // [rank][query heads]
};

}  // namespace gyre
