#include "runtime/operand_checks.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>

namespace gyre {
void require_shape(const char* name, const TypedRows& rows, std::int64_t tokens, int heads, int dim) {
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

namespace {

void require_sinks(const float* sinks, const Problem& problem) {
  const bool wanted = problem.sinks == SinkLogits::learned;
  if (wanted && sinks == nullptr)
    throw std::invalid_argument("sinks is null; give a logit for each of the " + std::to_string(problem.query_heads) +
                                " query heads, or set Problem::sinks to none");
  if (!wanted && sinks != nullptr)
    throw std::invalid_argument("sinks are given, and Problem::sinks is none; set it to learned, or give null");
  for (int head = 0; wanted && head < problem.query_heads; ++head) {
    if (!std::isfinite(sinks[head]))
      throw std::invalid_argument("the sink of head " + std::to_string(head) + " is " + std::to_string(sinks[head]) +
                                  "; give finite logits");
  }
}

/// What both passes read.
void require_inputs(const auto& operands, const Problem& problem, LocalTokens tokens) {
  require_shape("queries", operands.queries, tokens.queries, problem.query_heads, problem.head_dim);
  require_shape("keys", operands.keys, tokens.keys, problem.key_heads, problem.head_dim);
  require_shape("values", operands.values, tokens.keys, problem.key_heads, problem.value_dim);
  require_shape("out", operands.out, tokens.queries, problem.query_heads, problem.value_dim);
  require_sinks(operands.sinks, problem);
}

}  // namespace

void require_operands(const Operands& operands, const Problem& problem, LocalTokens tokens) {
  require_inputs(operands, problem, tokens);
}

void require_operands(const GradientOperands& operands, const Problem& problem, LocalTokens tokens) {
  require_inputs(operands, problem, tokens);
  if (operands.lse == nullptr && tokens.queries > 0)
    throw std::invalid_argument("lse is null; give the log-sum-exp of this rank's rows, as forward wrote it");
  if (problem.sinks == SinkLogits::learned && operands.grad_sinks == nullptr)
    throw std::invalid_argument("grad_sinks is null; give room for the gradients of the sinks, one for each query head");
  require_shape("grad_out", operands.grad_out, tokens.queries, problem.query_heads, problem.value_dim);
  require_shape("grad_queries", operands.grad_queries, tokens.queries, problem.query_heads, problem.head_dim);
  require_shape("grad_keys", operands.grad_keys, tokens.keys, problem.key_heads, problem.head_dim);
  require_shape("grad_values", operands.grad_values, tokens.keys, problem.key_heads, problem.value_dim);
}

}  // namespace gyre
