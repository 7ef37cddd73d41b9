#include "bench/trainer/gyre_attention.hpp"

#include <numeric>

namespace gyre::trainer {
namespace {

Problem problem_of(const ModelShape& shape, std::span<const std::int64_t> documents) {
  Problem problem;
  problem.query_tokens = problem.key_tokens = std::accumulate(documents.begin(), documents.end(), std::int64_t{0});
  problem.query_heads = shape.query_heads;
  problem.key_heads = shape.key_heads;
  problem.head_dim = problem.value_dim = shape.head_dim;
  problem.mask = Mask::causal() & Mask::documents(documents);
  return problem;
}

Options with_gradients(Options options) {
  if (options.backward == Backward::none) options.backward = Backward::automatic;
  return options;
}

}  // namespace

GyreAttention::GyreAttention(Transport& transport, const ModelShape& shape, std::span<const std::int64_t> documents,
                             const Options& options)
    : shape_(shape), attention_(transport, problem_of(shape, documents), with_gradients(options)) {
  for (const Range& range : rows()) row_count_ += range.size();
}

void GyreAttention::forward(const AttentionRows<float>& rows) {
  const auto of_queries = [&](auto* data) { return Rows(data, row_count_, shape_.query_heads, shape_.head_dim); };
  const auto of_keys = [&](auto* data) { return Rows(data, row_count_, shape_.key_heads, shape_.head_dim); };
  const CallTime time = attention_.forward({.queries = of_queries(rows.queries),
                                            .keys = of_keys(rows.keys),
                                            .values = of_keys(rows.values),
                                            .out = of_queries(rows.out),
                                            .lse = rows.lse});
  forward_seconds_ += time.total_seconds;
}

void GyreAttention::backward(const AttentionRows<float>& rows, const AttentionGradients<float>& gradients) {
  const auto of_queries = [&](auto* data) { return Rows(data, row_count_, shape_.query_heads, shape_.head_dim); };
  const auto of_keys = [&](auto* data) { return Rows(data, row_count_, shape_.key_heads, shape_.head_dim); };
  const float* out = rows.out;
  const CallTime time = attention_.backward({.queries = of_queries(rows.queries),
                                             .keys = of_keys(rows.keys),
                                             .values = of_keys(rows.values),
                                             .out = of_queries(out),
                                             .lse = rows.lse,
                                             .grad_out = of_queries(gradients.out),
                                             .grad_queries = of_queries(gradients.queries),
                                             .grad_keys = of_keys(gradients.keys),
                                             .grad_values = of_keys(gradients.values)});
  backward_seconds_ += time.total_seconds;
}

}  // namespace gyre::trainer
