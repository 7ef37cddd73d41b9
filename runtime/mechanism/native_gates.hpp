// What gates do to the outputs of branches: out = sum over b of gate_b out_b, and the gradients of that.
#pragma once

#include <array>

#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/native_attention.hpp"

namespace gyre {

using NativeBranches = std::array<NativeSparseState::Branch, kNativeBranches>;

/// gates: [rows, heads, 3]; out: [rows, heads, value_dim]. Summed in the branches' order. Local.
void add_gated(const Estimator& estimator, const TypedRows& gates, const NativeBranches& branches, const TypedOutRows& out);

/// grad_gates(row, head, b) = sum over channels of grad_out out_b. Local.
void gate_gradients(const Estimator& estimator, const TypedRows& grad_out, const NativeBranches& branches,
                    const TypedOutRows& grad_gates);

/// Of a branch's output: gate_b grad_out, [rows, heads, value_dim]. `into` has room. Local.
void gated_gradient(const Estimator& estimator, const TypedRows& gates, const TypedRows& grad_out, NativeBranch branch,
                    std::vector<float>& into);

}  // namespace gyre
