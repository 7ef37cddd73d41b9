// A Llama of random weights, small enough to be computed by its definition, as a GGUF file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bench/longbook/llama_shape.hpp"
#include "bench/trainer/random.hpp"
#include "gguf_writer.hpp"

namespace gyre::longbook {

inline constexpr LlamaShape kSmall = {.layers = 2,
                                      .width = 12,
                                      .query_heads = 4,
                                      .key_heads = 2,
                                      .head_dim = 8,
                                      .hidden = 20,
                                      .vocabulary = 40,
                                      .context_tokens = 64,
                                      .rotary_base = 100,
                                      .rotary_dim = 6,
                                      .norm_epsilon = 1e-3};

struct SmallLlama {
  std::map<std::string, std::vector<float>> tensors;  // by name; matrices [outputs, inputs]

  /// The metadata alone, and then the tensors: for files that lack something.
  static GgufWriter metadata() {
    GgufWriter writer;
    writer.words("general.architecture", "llama")
        .integer("llama.block_count", kSmall.layers)
        .integer("llama.context_length", static_cast<std::uint32_t>(kSmall.context_tokens))
        .integer("llama.embedding_length", kSmall.width)
        .integer("llama.feed_forward_length", kSmall.hidden)
        .integer("llama.attention.head_count", kSmall.query_heads)
        .integer("llama.attention.head_count_kv", kSmall.key_heads)
        .integer("llama.attention.key_length", kSmall.head_dim)
        .integer("llama.rope.dimension_count", kSmall.rotary_dim)
        .number("llama.rope.freq_base", static_cast<float>(kSmall.rotary_base))
        .number("llama.attention.layer_norm_rms_epsilon", static_cast<float>(kSmall.norm_epsilon));
    return writer;
  }
  std::string bytes() const {
    GgufWriter writer = metadata();
    for (const auto& [name, extents] : extents_) writer.tensor(name, extents, 0, bytes_of(tensors.at(name)));
    return writer.bytes();
  }

  SmallLlama() {
    const auto width = std::uint64_t{kSmall.width}, hidden = std::uint64_t{kSmall.hidden};
    const auto queries = static_cast<std::uint64_t>(kSmall.query_width()), keys = static_cast<std::uint64_t>(kSmall.key_width());
    add("token_embd.weight", {width, std::uint64_t{kSmall.vocabulary}});
    for (int layer = 0; layer < kSmall.layers; ++layer) {
      const std::string at = "blk." + std::to_string(layer) + ".";
      add(at + "attn_norm.weight", {width});
      add(at + "attn_q.weight", {width, queries});
      add(at + "attn_k.weight", {width, keys});
      add(at + "attn_v.weight", {width, keys});
      add(at + "attn_output.weight", {queries, width});
      add(at + "ffn_norm.weight", {width});
      add(at + "ffn_gate.weight", {width, hidden});
      add(at + "ffn_up.weight", {width, hidden});
      add(at + "ffn_down.weight", {hidden, width});
    }
    add("output_norm.weight", {width});
  }

 private:
  void add(const std::string& name, const std::vector<std::uint64_t>& extents) {
    std::uint64_t size = 1;
    for (const std::uint64_t extent : extents) size *= extent;
    for (std::uint64_t element = 0; element < size; ++element)
      tensors[name].push_back(static_cast<float>(extents.size() == 1 ? 1 + 0.2 * random_.normal() : 0.4 * random_.normal()));
    extents_[name] = extents;
  }
  static std::string bytes_of(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  }

  trainer::Random random_{5};
  std::map<std::string, std::vector<std::uint64_t>> extents_;
};

}  // namespace gyre::longbook
