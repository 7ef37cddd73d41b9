#include "bench/longbook/loaded_model.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>

#include "comm/agreement.hpp"
#include "runtime/io/regular_file.hpp"

namespace gyre::longbook {
namespace {

/// What is said of a file that `made` was made of begins with its path.
template <class Make>
auto of_file(const std::string& path, const Make& make) {
  try {
    return make();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + " " + error.what());
  }
}

LoadedModel load(const GgufFile& file) {
  const GgufHeader& header = file.header();
  const LlamaShape shape = of_file(file.path(), [&] { return LlamaShape::from(header); });
  Tokenizer tokenizer = of_file(file.path(), [&] { return Tokenizer(header); });
  if (tokenizer.vocabulary() > shape.vocabulary)
    throw std::invalid_argument(file.path() + " has " + std::to_string(tokenizer.vocabulary()) + " tokens and logits of " +
                                std::to_string(shape.vocabulary));
  return {shape, LlamaWeights::read(file, shape), std::move(tokenizer)};
}

std::vector<std::int32_t> encode(const Tokenizer& tokenizer, const std::string& path, std::int64_t most) {
  const RegularFile file(path);
  const std::string text = file.text(0, file.bytes());
  return of_file(path, [&] { return tokenizer.encode(text, most); });
}

}  // namespace

LoadedModel load_model(Transport& transport, const std::string& path) {
  std::optional<LoadedModel> model;
  std::string what;
  together(transport, [&] {
    const GgufFile file(path);
    what = std::to_string(file.bytes()) + " bytes, hash " + std::to_string(file.header_hash());
    model.emplace(load(file));
  });
  agree(transport, {{path, what}});
  return std::move(*model);
}

std::vector<std::int32_t> load_tokens(Transport& transport, const Tokenizer& tokenizer, const std::string& path,
                                      std::int64_t count) {
  std::vector<std::int32_t> tokens;
  together(transport, [&] {
    if (transport.rank() != 0) return;
    tokens = encode(tokenizer, path, count);
    if (std::ssize(tokens) < count)
      throw std::invalid_argument(path + " has " + std::to_string(tokens.size()) + " tokens; give a longer text or --tokens " +
                                  std::to_string(tokens.size()));
  });
  tokens.resize(static_cast<std::size_t>(count));
  transport.broadcast(std::as_writable_bytes(std::span(tokens)), 0);
  return tokens;
}

void encode_file(const std::string& model_path, const std::string& text_path, const std::string& tokens_path) {
  const GgufFile file(model_path);
  const Tokenizer tokenizer = of_file(model_path, [&] { return Tokenizer(file.header()); });
  const std::vector<std::int32_t> tokens = encode(tokenizer, text_path, std::numeric_limits<std::int64_t>::max());
  std::ofstream out(tokens_path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(tokens.data()), static_cast<std::streamsize>(tokens.size() * sizeof(tokens[0])));
  if (!out.flush()) throw std::runtime_error(tokens_path + " cannot be written");
}

}  // namespace gyre::longbook
