#include "bench/longbook/tokenizer.hpp"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

namespace gyre::longbook {
namespace {

BytePairs pairs_of(const GgufHeader& header) {
  const auto& model = header.at<std::string>("tokenizer.ggml.model");
  if (model != "gpt2")
    throw std::invalid_argument("has the tokenizer '" + model + "'; gpt2, of byte pairs, is known: take a model with that");
  for (const char* key : {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix"}) {
    const bool* const wanted = header.find<bool>(key);
    if (wanted != nullptr && *wanted)
      throw std::invalid_argument(std::string("wants ") + key + ", which is not built; take a model without");
  }
  return {header.at<std::vector<std::string>>("tokenizer.ggml.tokens"),
          header.at<std::vector<std::string>>("tokenizer.ggml.merges")};
}

}  // namespace

Tokenizer::Tokenizer(const GgufHeader& header)
    : pairs_(pairs_of(header)), splitter_(header.at<std::string>("tokenizer.ggml.pre")) {}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, std::int64_t most) const {
  std::unordered_map<std::string_view, std::vector<std::int32_t>> known;  // a book has few words
  constexpr std::size_t kKnownMost = 64;                                  // bytes: longer ones hardly come back
  std::vector<std::int32_t> tokens, word_tokens;
  splitter_.split(text, [&](std::string_view word) {
    auto found = known.find(word);
    if (found == known.end()) {
      word_tokens.clear();
      pairs_.encode(word, word_tokens);
      if (word.size() <= kKnownMost) known.emplace(word, word_tokens);
      tokens.insert(tokens.end(), word_tokens.begin(), word_tokens.end());
    } else {
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
    }
    return std::ssize(tokens) < most;
  });
  tokens.resize(static_cast<std::size_t>(std::min<std::int64_t>(std::ssize(tokens), most)));
  return tokens;
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) text += pairs_.text(token);
  return text;
}

}  // namespace gyre::longbook
