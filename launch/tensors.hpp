// This rank's rows of a job: those read, and room for those that calls make.
#pragma once

#include <vector>

#include "kernels/team.hpp"
#include "launch/inputs.hpp"
#include "runtime/attention.hpp"
#include "runtime/executor.hpp"
#include "runtime/problem.hpp"

namespace gyre {

struct Tensors {
  LoadedRows queries, keys, values, grad_out;
  std::vector<float> out, lse, grad_queries, grad_keys, grad_values, grad_sinks;
  const float* sinks = nullptr;  // of the inputs

  /// Reads the rows that attention says are this rank's, as cells of the problem's type hold them. Local; inputs must outlive it.
  /// Throws as Inputs::read does, and std::bad_alloc.
  Tensors(const Inputs& inputs, const Problem& problem, const Attention& attention, Team& team, bool backward);

  Operands operands(const Problem& problem);
  /// After forward, and only where room was made for gradients.
  GradientOperands gradient_operands(const Problem& problem);
};

}  // namespace gyre
