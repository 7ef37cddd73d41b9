#include "bench/longbook/llama_shape.hpp"

#include <stdexcept>
#include <string>

namespace gyre::longbook {
namespace {

constexpr int kMostExtent = 1 << 20;  // so that products of two fit

int extent_of(const std::string& key, std::int64_t value) {
  if (value < 1 || value > kMostExtent)
    throw std::invalid_argument("has " + key + " " + std::to_string(value) + "; 1 to " + std::to_string(kMostExtent) + " are read");
  return static_cast<int>(value);
}

int extent(const GgufHeader& header, const std::string& key) {
  return extent_of(key, header.at<std::int64_t>(key));
}

int extent_or(const GgufHeader& header, const std::string& key, int otherwise) {
  const auto* const value = header.find<std::int64_t>(key);
  return value == nullptr ? otherwise : extent_of(key, *value);
}

void refuse_what_is_not_computed(const GgufHeader& header) {
  if (const auto& architecture = header.at<std::string>("general.architecture"); architecture != "llama")
    throw std::invalid_argument("is of the architecture '" + architecture + "'; llama is computed: take such a model");
  if (const auto* experts = header.find<std::int64_t>("llama.expert_count"); experts != nullptr && *experts != 0)
    throw std::invalid_argument("has " + std::to_string(*experts) + " experts a layer, which are not built; take a model without");
  if (const auto* scaling = header.find<std::string>("llama.rope.scaling.type"); scaling != nullptr && *scaling != "none")
    throw std::invalid_argument("has llama.rope.scaling.type '" + *scaling +
                                "', which is not taken from the file; take a model without");
  if (header.find<double>("llama.rope.scale_linear") != nullptr)
    throw std::invalid_argument("has llama.rope.scale_linear, which is not taken from the file; take a model without");
}

void validate(const LlamaShape& shape) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument("has " + what);
  };
  require(shape.query_heads % shape.key_heads == 0, std::to_string(shape.query_heads) + " query heads and " +
                                                        std::to_string(shape.key_heads) +
                                                        " key/value heads, which do not divide them");
  require(shape.rotary_dim <= shape.head_dim && shape.rotary_dim % 2 == 0,
          "heads of " + std::to_string(shape.head_dim) + " channels and rotates " + std::to_string(shape.rotary_dim) +
              ", which must be even and not more");
  require(shape.rotary_base > 1, "llama.rope.freq_base " + std::to_string(shape.rotary_base) + "; it must be above 1");
  require(shape.norm_epsilon > 0 && shape.norm_epsilon < 1,
          "llama.attention.layer_norm_rms_epsilon " + std::to_string(shape.norm_epsilon) + "; it must be between 0 and 1");
}

}  // namespace

LlamaShape LlamaShape::from(const GgufHeader& header) {
  refuse_what_is_not_computed(header);
  LlamaShape shape;
  shape.layers = extent(header, "llama.block_count");
  shape.width = extent(header, "llama.embedding_length");
  shape.hidden = extent(header, "llama.feed_forward_length");
  shape.query_heads = extent(header, "llama.attention.head_count");
  shape.key_heads = extent_or(header, "llama.attention.head_count_kv", shape.query_heads);
  if (shape.width % shape.query_heads != 0 && header.find<std::int64_t>("llama.attention.key_length") == nullptr)
    throw std::invalid_argument("has a width of " + std::to_string(shape.width) + ", which " + std::to_string(shape.query_heads) +
                                " heads do not divide, and no llama.attention.key_length");
  shape.head_dim = extent_or(header, "llama.attention.key_length", shape.width / shape.query_heads);
  if (extent_or(header, "llama.attention.value_length", shape.head_dim) != shape.head_dim)
    throw std::invalid_argument("has values of another length than keys, which is not built; take a model without");
  shape.context_tokens = extent(header, "llama.context_length");
  shape.rotary_dim = extent_or(header, "llama.rope.dimension_count", shape.head_dim);
  const auto* const base = header.find<double>("llama.rope.freq_base");
  shape.rotary_base = base == nullptr ? 10000 : *base;
  shape.norm_epsilon = header.at<double>("llama.attention.layer_norm_rms_epsilon");
  const auto embedding = header.tensors().find("token_embd.weight");
  if (embedding == header.tensors().end()) throw std::invalid_argument("lacks the tensor token_embd.weight");
  shape.vocabulary = extent_of("a vocabulary of", embedding->second.rows);
  validate(shape);
  return shape;
}

}  // namespace gyre::longbook
