// Forward of a Llama on the rows of one rank. Attention is the only thing that sees other rows: for every layer
//
//   x += W_o attention(rotate(W_q n), rotate(W_k n), W_v n)     n = rms_norm(x), queries in groups over key/value heads
//   x += W_down (silu(W_gate m) * W_up m)                        m = rms_norm(x)
//
// from x = embedding[token] to logits = W_out rms_norm(x) (Touvron 2023, 2302.13971).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bench/longbook/forward_seconds.hpp"
#include "bench/longbook/layer_attention.hpp"
#include "bench/longbook/llama_weights.hpp"

namespace gyre::longbook {

/// Attention of a layer over so many tokens: causal, at the positions that the model was trained with.
Problem attention_of(const LlamaShape& shape, std::int64_t tokens);

class Llama {
 public:
  /// Borrows the weights.
  Llama(const LlamaShape& shape, const LlamaWeights& weights) : shape_(shape), weights_(weights) {}

  /// Through all layers; adds to `seconds`. attention: of attention_of(shape), its positions or its mask changed maybe; it turns
  /// queries and keys. tokens: of this rank's rows, in the order of attention.rows(). Memory: some rows of `hidden`, and of each of
  /// this rank's tokens 4 (4 width
  /// + 2 key width) bytes. Collective over the attention's ranks.
  void forward(std::span<const std::int32_t> tokens, LayerAttention& attention, ForwardSeconds& seconds);

  /// rms_norm(x) W_out of rows [first, first + count) of the last forward. out: [count, vocabulary]. Local.
  void logits(std::int64_t first, std::int64_t count, float* out);

  const LlamaShape& shape() const { return shape_; }

 private:
  void attend(const LlamaLayer& layer, LayerAttention& attention, ForwardSeconds& seconds);
  void feed_forward(const LlamaLayer& layer, ForwardSeconds& seconds);

  LlamaShape shape_;
  const LlamaWeights& weights_;
  std::int64_t rows_ = 0;
  std::vector<float> stream_, norm_;                  // [rows, width]
  std::vector<float> queries_, keys_, values_, out_;  // [rows, heads, head_dim]
  std::vector<float> gate_, up_;                      // [kFeedRows, hidden]
};

}  // namespace gyre::longbook
