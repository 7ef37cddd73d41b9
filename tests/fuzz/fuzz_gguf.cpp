// A GGUF file: whatever it says, it is read to its last tensor or refused.
#include <stdexcept>

#include "bench/longbook/byte_pairs.hpp"
#include "bench/longbook/gguf_file.hpp"
#include "bench/longbook/llama_shape.hpp"
#include "memory_file.hpp"

namespace gyre::longbook {
namespace {

void read_tensors(const GgufFile& file) {
  for (const auto& [name, tensor] : file.header().tensors()) {
    require(tensor.begin >= 0 && tensor.begin < tensor.end && tensor.end <= file.bytes());
    require((tensor.end - tensor.begin) / tensor.format->bytes * tensor.format->elements == tensor.rows * tensor.columns);
    try {
      require(std::ssize(file.tensor(name, tensor.rows, tensor.columns)) == tensor.rows * tensor.columns);
    } catch (const std::invalid_argument&) {  // values that are not finite
    }
  }
}

void read_vocabulary(const GgufHeader& header) {
  const BytePairs pairs(header.at<std::vector<std::string>>("tokenizer.ggml.tokens"),
                        header.at<std::vector<std::string>>("tokenizer.ggml.merges"));
  for (std::int32_t token = 0; token < pairs.vocabulary(); ++token) {
    std::vector<std::int32_t> tokens;
    pairs.encode(pairs.text(token), tokens);
    for (const std::int32_t part : tokens) require(part >= 0 && part < pairs.vocabulary());
  }
}

}  // namespace
}  // namespace gyre::longbook

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gyre::longbook;
  try {
    const gyre::MemoryFile memory({data, size});
    const GgufFile file(memory.path());
    read_tensors(file);
    for (const auto& read : {+[](const GgufHeader& header) { LlamaShape::from(header); },
                             +[](const GgufHeader& header) { read_vocabulary(header); }}) {
      try {
        read(file.header());
      } catch (const std::invalid_argument&) {
      }
    }
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
