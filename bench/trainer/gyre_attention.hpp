// The model's attention by Gyre: causal within documents, over rows that are shared out over the ranks.
#pragma once

#include <span>
#include <vector>

#include "bench/trainer/attention_call.hpp"
#include "bench/trainer/model_shape.hpp"
#include "comm/transport.hpp"
#include "runtime/attention.hpp"

namespace gyre::trainer {

/// One for all layers of a step: documents differ from step to step, and with them the mask and who holds which rows.
class GyreAttention : public AttentionCall<float> {
 public:
  /// documents: lengths. Collective over the transport, which must outlive this.
  GyreAttention(Transport& transport, const ModelShape& shape, std::span<const std::int64_t> documents, const Options& options);

  /// The tokens of this rank, in the order of its rows.
  const std::vector<Range>& rows() const { return attention_.query_rows(); }
  const Attention& attention() const { return attention_; }

  void forward(const AttentionRows<float>& rows) override;
  void backward(const AttentionRows<float>& rows, const AttentionGradients<float>& gradients) override;

  double forward_seconds() const { return forward_seconds_; }  // of all calls so far, on this rank
  double backward_seconds() const { return backward_seconds_; }

 private:
  ModelShape shape_;
  Attention attention_;
  std::int64_t row_count_ = 0;
  double forward_seconds_ = 0, backward_seconds_ = 0;
};

}  // namespace gyre::trainer
