// A model and a text small enough for differences and for the daily loop.
#pragma once

#include <string>

#include "bench/trainer/model_shape.hpp"
#include "bench/trainer/random.hpp"

namespace gyre::trainer {

inline ModelShape small_shape() {
  return {.layers = 2, .width = 12, .query_heads = 4, .key_heads = 2, .head_dim = 4, .hidden = 10, .vocabulary = 128};
}

/// Documents of 5 to 60 letters.
inline std::string small_text(int documents) {
  Random random(7);
  std::string text;
  for (int document = 0; document < documents; ++document) {
    const auto length = 5 + random.next() % 56;
    for (std::uint64_t letter = 0; letter < length; ++letter) text += static_cast<char>('a' + random.next() % 7);
    text += "\n\n";
  }
  return text;
}

}  // namespace gyre::trainer
