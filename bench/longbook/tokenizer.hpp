// A model's tokenizer, from the metadata of its file: byte pairs within words (tokenizer.ggml.model gpt2).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/longbook/byte_pairs.hpp"
#include "bench/longbook/gguf_header.hpp"
#include "bench/longbook/word_splitter.hpp"

namespace gyre::longbook {

class Tokenizer {
 public:
  /// Throws std::invalid_argument naming what is missing or unknown; the message wants the file's name before it.
  explicit Tokenizer(const GgufHeader& header);

  int vocabulary() const { return pairs_.vocabulary(); }
  /// The first `most` tokens of a text; all where it has fewer. Names of special tokens in it are text. Throws
  /// std::invalid_argument where the text is not UTF-8, or has a byte that no token spells; the message wants the text's name
  /// before it.
  std::vector<std::int32_t> encode(std::string_view text, std::int64_t most) const;
  /// The bytes of these tokens.
  std::string decode(std::span<const std::int32_t> tokens) const;

 private:
  BytePairs pairs_;
  WordSplitter splitter_;
};

}  // namespace gyre::longbook
