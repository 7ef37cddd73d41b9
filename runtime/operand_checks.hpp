// Whether what a caller hands over for a call is what this rank's share of the problem wants.
#pragma once

#include <cstdint>

#include "runtime/executor.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// Rows of one rank.
struct LocalTokens {
  std::int64_t queries = 0, keys = 0;
};

/// Throws std::invalid_argument naming the argument, its shape or strides, and those that are wanted.
void require_shape(const char* name, const TypedRows& rows, std::int64_t tokens, int heads, int dim);
void require_operands(const Operands& operands, const Problem& problem, LocalTokens tokens);
void require_operands(const GradientOperands& operands, const Problem& problem, LocalTokens tokens);

}  // namespace gyre
