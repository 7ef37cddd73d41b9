// What the model wants of attention, whoever computes it: Gyre (gyre_attention.hpp), or a few loops in float64 in a test.
#pragma once

namespace gyre::trainer {

/// Of this rank's rows of one layer, dense: queries [rows, query_heads, head_dim], keys and values [rows, key_heads, head_dim].
template <class Real>
struct AttentionRows {
  const Real *queries = nullptr, *keys = nullptr, *values = nullptr;
  Real* out = nullptr;   // [rows, query_heads, head_dim]
  float* lse = nullptr;  // [rows, query_heads]
};

template <class Real>
struct AttentionGradients {
  const Real* out = nullptr;
  Real *queries = nullptr, *keys = nullptr, *values = nullptr;  // overwritten
};

template <class Real>
class AttentionCall {
 public:
  virtual ~AttentionCall() = default;
  virtual void forward(const AttentionRows<Real>& rows) = 0;                                              // writes out, lse
  virtual void backward(const AttentionRows<Real>& rows, const AttentionGradients<Real>& gradients) = 0;  // reads them
};

}  // namespace gyre::trainer
