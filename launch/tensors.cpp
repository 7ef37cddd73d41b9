#include "launch/tensors.hpp"

#include <cstddef>
#include <cstdint>

namespace gyre {

Tensors::Tensors(const Inputs& inputs, const Problem& problem, const Attention& attention, Team& team, bool backward) {
  queries = inputs.read(Tensor::query, attention.query_rows(), problem.type, team);
  keys = inputs.read(Tensor::key, attention.key_rows(), problem.type, team);
  values = inputs.read(Tensor::value, attention.key_rows(), problem.type, team);
  if (problem.sinks == SinkLogits::learned) sinks = inputs.sinks().data();
  lse.resize(static_cast<std::size_t>(queries.rows.tokens * problem.query_heads));
  out.resize(lse.size() * static_cast<std::size_t>(problem.value_dim));
  if (!backward) return;
  grad_out = inputs.read(Tensor::grad_out, attention.query_rows(), problem.type, team);
  const auto floats = [](const LoadedRows& like) {
    return static_cast<std::size_t>(like.rows.tokens * like.rows.heads * like.rows.dim);
  };
  grad_queries.resize(floats(queries)), grad_keys.resize(floats(keys)), grad_values.resize(floats(values));
  grad_sinks.resize(static_cast<std::size_t>(problem.query_heads));
}

Operands Tensors::operands(const Problem& problem) {
  return {.queries = queries.rows,
          .keys = keys.rows,
          .values = values.rows,
          .out = {out.data(), queries.rows.tokens, problem.query_heads, problem.value_dim},
          .lse = lse.data(),
          .sinks = sinks};
}

GradientOperands Tensors::gradient_operands(const Problem& problem) {
  const std::int64_t query_tokens = queries.rows.tokens, key_tokens = keys.rows.tokens;
  return {.queries = queries.rows,
          .keys = keys.rows,
          .values = values.rows,
          .out = {out.data(), query_tokens, problem.query_heads, problem.value_dim},
          .lse = lse.data(),
          .grad_out = grad_out.rows,
          .grad_queries = {grad_queries.data(), query_tokens, problem.query_heads, problem.head_dim},
          .grad_keys = {grad_keys.data(), key_tokens, problem.key_heads, problem.head_dim},
          .grad_values = {grad_values.data(), key_tokens, problem.key_heads, problem.value_dim},
          .sinks = sinks,
          .grad_sinks = sinks == nullptr ? nullptr : grad_sinks.data()};
}

}  // namespace gyre
