// A Llama's weights as fp32. Matrices are [outputs, inputs].
#pragma once

#include <vector>

#include "bench/longbook/gguf_file.hpp"
#include "bench/longbook/llama_shape.hpp"

namespace gyre::longbook {

struct LlamaLayer {
  std::vector<float> attention_gain, query, key, value,
      output;                                    // [width], [query width, width], 2 x [key width, width], [width, query width]
  std::vector<float> feed_gain, gate, up, down;  // [width], 2 x [hidden, width], [width, hidden]
};

struct LlamaWeights {
  std::vector<float> embedding;  // [vocabulary, width]
  std::vector<LlamaLayer> layers;
  std::vector<float> final_gain;  // [width]
  std::vector<float> logits;      // [vocabulary, width]; empty: the embedding

  /// Takes four bytes a weight. Throws std::invalid_argument beginning with the path: a tensor is missing, has another size, is not
  /// finite, or is there and would not be used (biases).
  static LlamaWeights read(const GgufFile& file, const LlamaShape& shape);
  const float* to_logits() const { return logits.empty() ? embedding.data() : logits.data(); }
};

}  // namespace gyre::longbook
