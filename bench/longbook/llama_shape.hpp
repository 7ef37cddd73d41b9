// The sizes of a Llama, from the metadata of its file.
#pragma once

#include <cstdint>

#include "bench/longbook/gguf_header.hpp"

namespace gyre::longbook {

struct LlamaShape {
  int layers = 0;
  int width = 0;
  int query_heads = 0, key_heads = 0, head_dim = 0;
  int hidden = 0;                   // of the feed-forward
  int vocabulary = 0;               // of logits
  std::int64_t context_tokens = 0;  // that it was trained for
  double rotary_base = 0;
  int rotary_dim = 0;  // channels of a head that are rotated, pairs being neighbours; the others stay
  double norm_epsilon = 0;

  int query_width() const { return query_heads * head_dim; }
  int key_width() const { return key_heads * head_dim; }

  /// Throws std::invalid_argument naming what is missing, what does not fit, and what a Llama can have that is not computed here;
  /// the message wants the file's name before it.
  static LlamaShape from(const GgufHeader& header);
};

}  // namespace gyre::longbook
