#include "bench/longbook/gguf_file.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

namespace gyre::longbook {

GgufFile::GgufFile(const std::string& path) : file_(path) {
  const std::string bytes = file_.text(0, std::min(file_.bytes(), kGgufHeaderMost));
  try {
    header_ = GgufHeader::parse(bytes, file_.bytes());
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + " " + error.what());
  }
  header_hash_ = std::hash<std::string>()(bytes);
}

std::vector<float> GgufFile::tensor(const std::string& name, std::int64_t rows, std::int64_t columns) const {
  const auto found = header_.tensors().find(name);
  if (found == header_.tensors().end()) throw std::invalid_argument(path() + " lacks the tensor " + name);
  const GgufTensor& tensor = found->second;
  if (tensor.rows != rows || tensor.columns != columns)
    throw std::invalid_argument(path() + " has " + name + " of [" + std::to_string(tensor.rows) + ", " +
                                std::to_string(tensor.columns) + "]; its metadata want [" + std::to_string(rows) + ", " +
                                std::to_string(columns) + "]");
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  const std::int64_t blocks = rows * columns / tensor.format->elements;
  constexpr std::int64_t kPiece = 1 << 14;  // blocks: what is read at a time
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(blocks, kPiece) * tensor.format->bytes));
  for (std::int64_t block = 0; block < blocks; block += kPiece) {
    const std::int64_t count = std::min(kPiece, blocks - block);
    file_.read(piece.data(), count * tensor.format->bytes, tensor.begin + block * tensor.format->bytes);
    tensor.format->expand(piece.data(), count, values.data() + block * tensor.format->elements);
  }
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
    throw std::invalid_argument(path() + " has a value in " + name + " that is not finite; fetch it again");
  return values;
}

}  // namespace gyre::longbook
