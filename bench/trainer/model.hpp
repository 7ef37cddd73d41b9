// Forward and backward of the whole model, on the rows of one rank. Attention is the only thing that sees other rows.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/trainer/attention_call.hpp"
#include "bench/trainer/model_shape.hpp"
#include "bench/trainer/rotary.hpp"

namespace gyre::trainer {

/// Rows of a packed sequence that one rank holds, in any order.
struct Batch {
  std::vector<std::int32_t> tokens, targets;  // targets: the next token, or kNoTarget
  std::vector<std::int64_t> positions;        // in the whole sequence
  double gradient_scale = 1;                  // of the summed loss: 1 / targets of all ranks
};

template <class Real>
class Model {
 public:
  explicit Model(const ModelShape& shape);

  /// The sum of the losses of these rows; adds gradient_scale times its gradient by `parameters` to `gradients`. Both are laid out
  /// as layout() says. Collective if attention is.
  double loss_and_gradients(const Real* parameters, const Batch& batch, AttentionCall<Real>& attention, Real* gradients);

  const ModelShape& shape() const { return shape_; }
  const ParameterLayout& layout() const { return layout_; }

 private:
  /// What backward reads of a layer, [rows, ...].
  struct Saved {
    std::vector<Real> input, attention_norm, queries, keys, values, out, middle, feed_norm, gate, up, product;
    std::vector<float> lse;
  };

  void make_room(std::int64_t rows);
  void forward_layer(int layer, const Real* parameters, const Rotary<Real>& rotary, AttentionCall<Real>& attention);
  void backward_feed(int layer, const Real* parameters, Real* gradients);
  void backward_attention(int layer, const Real* parameters, const Rotary<Real>& rotary, AttentionCall<Real>& attention,
                          Real* gradients);
  AttentionRows<Real> rows_of(Saved& saved);

  ModelShape shape_;
  ParameterLayout layout_;
  std::int64_t rows_ = 0;
  std::vector<Saved> saved_;                                                        // [layers]
  std::vector<Real> stream_, norm_, logits_;                                        // forward
  std::vector<Real> grad_stream_, grad_norm_, grad_product_, grad_gate_, grad_up_;  // backward
  std::vector<Real> grad_out_, grad_queries_, grad_keys_, grad_values_;
};

}  // namespace gyre::trainer
