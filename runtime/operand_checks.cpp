#include "runtime/operand_checks.hpp"

#include <sstream>
#include <stdexcept>
#include <string>

namespace gyre {
namespace {

void require_shape(const char* name, const auto& rows, std::int64_t tokens, int heads, int dim) {
  const auto shape = [](std::int64_t t, int h, int d) {
    std::ostringstream text;
    text << '[' << t << ", " << h << ", " << d << ']';
    return text.str();
  };
  if (rows.tokens != tokens || rows.heads != heads || rows.dim != dim) {
    throw std::invalid_argument(std::string(name) + " is " + shape(rows.tokens, rows.heads, rows.dim) + "; this rank's rows are " +
                                shape(tokens, heads, dim) + " (see query_rows() and key_rows())");
  }
  if (tokens > 0 && (rows.token_stride < dim || (heads > 1 && rows.head_stride < dim))) {
    throw std::invalid_argument(std::string(name) + " has strides of " + std::to_string(rows.token_stride) + " and " +
                                std::to_string(rows.head_stride) + " elements between tokens and heads; rows of " +
                                std::to_string(dim) + " would overlap");
  }
  if (rows.data == nullptr && tokens > 0) throw std::invalid_argument(std::string(name) + " is null; give this rank's rows");
}

/// What both passes read.
void require_inputs(const auto& operands, const Problem& problem, LocalTokens tokens) {
  require_shape("queries", operands.queries, tokens.queries, problem.query_heads, problem.head_dim);
  require_shape("keys", operands.keys, tokens.keys, problem.key_heads, problem.head_dim);
  require_shape("values", operands.values, tokens.keys, problem.key_heads, problem.value_dim);
  require_shape("out", operands.out, tokens.queries, problem.query_heads, problem.value_dim);
}

}  // namespace

void require_operands(const Operands& operands, const Problem& problem, LocalTokens tokens) {
  require_inputs(operands, problem, tokens);
}

void require_operands(const GradientOperands& operands, const Problem& problem, LocalTokens tokens) {
  require_inputs(operands, problem, tokens);
  if (operands.lse == nullptr && tokens.queries > 0)
    throw std::invalid_argument("lse is null; give the log-sum-exp of this rank's rows, as forward wrote it");
  require_shape("grad_out", operands.grad_out, tokens.queries, problem.query_heads, problem.value_dim);
  require_shape("grad_queries", operands.grad_queries, tokens.queries, problem.query_heads, problem.head_dim);
  require_shape("grad_keys", operands.grad_keys, tokens.keys, problem.key_heads, problem.head_dim);
  require_shape("grad_values", operands.grad_values, tokens.keys, problem.key_heads, problem.value_dim);
}

}  // namespace gyre
