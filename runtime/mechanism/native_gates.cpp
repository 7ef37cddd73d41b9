#include "runtime/mechanism/native_gates.hpp"

#include <algorithm>

#include "kernels/convert.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kRows = 32;  // tokens of a task

/// body(token, head, scratch) of every row, on the team; scratch: [dim].
template <class Body>
void each_row(const Estimator& estimator, std::int64_t tokens, int heads, int dim, Body&& body) {
  estimator.each((tokens + kRows - 1) / kRows, [&](int task, int) {
    std::vector<float> scratch(static_cast<std::size_t>(dim));
    for (std::int64_t token = task * kRows; token < std::min(tokens, (task + 1) * kRows); ++token) {
      for (int head = 0; head < heads; ++head) body(token, head, scratch.data());
    }
  });
}

std::array<float, kNativeBranches> gates_of(const TypedRows& gates, std::int64_t token, int head) {
  std::array<float, kNativeBranches> row{};
  convert(gates.row(token, head), gates.type, row.data(), Type::f32, kNativeBranches);
  return row;
}

/// A branch's row.
const float* row_of(const NativeSparseState::Branch& branch, std::int64_t token, int head, int heads, int dim) {
  return branch.out.data() + (token * heads + head) * dim;
}

}  // namespace

void add_gated(const Estimator& estimator, const TypedRows& gates, const NativeBranches& branches, const TypedOutRows& out) {
  each_row(estimator, out.tokens, out.heads, out.dim, [&](std::int64_t token, int head, float* sum) {
    const auto gate = gates_of(gates, token, head);
    std::fill_n(sum, out.dim, 0.0F);
    for (std::size_t branch = 0; branch < branches.size(); ++branch) {
      const float* const row = row_of(branches[branch], token, head, out.heads, out.dim);
      for (int at = 0; at < out.dim; ++at) sum[at] += gate[branch] * row[at];
    }
    convert(sum, Type::f32, out.row(token, head), out.type, out.dim);
  });
}

void gate_gradients(const Estimator& estimator, const TypedRows& grad_out, const NativeBranches& branches,
                    const TypedOutRows& grad_gates) {
  each_row(estimator, grad_out.tokens, grad_out.heads, grad_out.dim, [&](std::int64_t token, int head, float* gradient) {
    convert(grad_out.row(token, head), grad_out.type, gradient, Type::f32, grad_out.dim);
    std::array<float, kNativeBranches> products{};
    for (std::size_t branch = 0; branch < branches.size(); ++branch) {
      const float* const row = row_of(branches[branch], token, head, grad_out.heads, grad_out.dim);
      double product = 0;
      for (int at = 0; at < grad_out.dim; ++at) product += double{gradient[at]} * double{row[at]};
      products[branch] = static_cast<float>(product);
    }
    convert(products.data(), Type::f32, grad_gates.row(token, head), grad_gates.type, kNativeBranches);
  });
}

void gated_gradient(const Estimator& estimator, const TypedRows& gates, const TypedRows& grad_out, NativeBranch branch,
                    std::vector<float>& into) {
  each_row(estimator, grad_out.tokens, grad_out.heads, grad_out.dim, [&](std::int64_t token, int head, float*) {
    const float gate = gates_of(gates, token, head)[static_cast<std::size_t>(branch)];
    float* const row = into.data() + (token * grad_out.heads + head) * grad_out.dim;
    convert(grad_out.row(token, head), grad_out.type, row, Type::f32, grad_out.dim);
    for (int at = 0; at < grad_out.dim; ++at) row[at] *= gate;
  });
}

}  // namespace gyre
