// A model as every rank has it: sizes, weights, tokenizer.
#pragma once

#include <string>
#include <vector>

#include "bench/longbook/llama_weights.hpp"
#include "bench/longbook/tokenizer.hpp"
#include "comm/transport.hpp"

namespace gyre::longbook {

struct LoadedModel {
  LlamaShape shape;
  LlamaWeights weights;
  Tokenizer tokenizer;
};

/// Every rank reads the file. Throws std::invalid_argument beginning with the path, the same on every rank, also if ranks read
/// different files. Collective.
LoadedModel load_model(Transport& transport, const std::string& path);

/// The first `count` tokens of a text, which rank 0 reads. Throws std::invalid_argument beginning with the path, on every rank: it
/// cannot be read, is not UTF-8, or is shorter than that. Collective.
std::vector<std::int32_t> load_tokens(Transport& transport, const Tokenizer& tokenizer, const std::string& path,
                                      std::int64_t count);

/// Writes the tokens of all of a text, int32. Throws as load_tokens does. Local.
void encode_file(const std::string& model_path, const std::string& text_path, const std::string& tokens_path);

}  // namespace gyre::longbook
