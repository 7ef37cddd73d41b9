#include "bench/longbook/llama_weights.hpp"

#include <stdexcept>
#include <string>
#include <unordered_set>

namespace gyre::longbook {

LlamaWeights LlamaWeights::read(const GgufFile& file, const LlamaShape& shape) {
  std::unordered_set<std::string> used;
  const auto matrix = [&](const std::string& name, int rows, int columns) {
    used.insert(name + ".weight");
    return file.tensor(name + ".weight", rows, columns);
  };
  LlamaWeights weights;
  weights.embedding = matrix("token_embd", shape.vocabulary, shape.width);
  for (int number = 0; number < shape.layers; ++number) {
    const std::string at = "blk." + std::to_string(number) + ".";
    LlamaLayer& layer = weights.layers.emplace_back();
    layer.attention_gain = matrix(at + "attn_norm", 1, shape.width);
    layer.query = matrix(at + "attn_q", shape.query_width(), shape.width);
    layer.key = matrix(at + "attn_k", shape.key_width(), shape.width);
    layer.value = matrix(at + "attn_v", shape.key_width(), shape.width);
    layer.output = matrix(at + "attn_output", shape.width, shape.query_width());
    layer.feed_gain = matrix(at + "ffn_norm", 1, shape.width);
    layer.gate = matrix(at + "ffn_gate", shape.hidden, shape.width);
    layer.up = matrix(at + "ffn_up", shape.hidden, shape.width);
    layer.down = matrix(at + "ffn_down", shape.width, shape.hidden);
  }
  weights.final_gain = matrix("output_norm", 1, shape.width);
  if (file.header().tensors().contains("output.weight")) weights.logits = matrix("output", shape.vocabulary, shape.width);
  for (const auto& [name, tensor] : file.header().tensors())
    if (!used.contains(name))
      throw std::invalid_argument(file.path() + " has the tensor " + name + ", which is not computed here; take a model without");
  return weights;
}

}  // namespace gyre::longbook
