#include "runtime/io/tensor_reader.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "runtime/io/file_elements.hpp"
#include "runtime/io/npy.hpp"
#include "runtime/io/safetensors.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{8} << 20;

void require_rows(const StoredTensor& tensor) {
  if (!is_float(tensor.type))
    throw std::invalid_argument("has elements of type " + type_text(tensor) +
                                "; f16, bf16, f32 and f64 are read: save x.astype('float32')");
  if (tensor.shape.size() != 2 && tensor.shape.size() != 3)
    throw std::invalid_argument("has shape " + shape_text(tensor.shape) + "; [tokens, heads, dim] is read: reshape it");
  for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis)
    if (tensor.shape[axis] < 1 || tensor.shape[axis] > std::numeric_limits<int>::max())
      throw std::invalid_argument("has shape " + shape_text(tensor.shape) + "; heads and dim must be at least 1 and below 2^31");
}

}  // namespace

TensorReader::TensorReader(std::shared_ptr<const RegularFile> file, StoredTensor tensor, std::string name)
    : file_(std::move(file)), tensor_(std::move(tensor)), name_(std::move(name)) {
  try {
    require_rows(tensor_);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(name_ + ": " + error.what());
  }
}

TensorReader::TensorReader(const std::string& path) : file_(std::make_shared<RegularFile>(path)), name_(path) {
  *this = TensorReader(file_, locate_npy(*file_), name_);
}

std::vector<TensorReader> TensorReader::from_safetensors(const std::string& path, std::span<const std::string> names) {
  const auto file = std::make_shared<RegularFile>(path);
  std::vector<StoredTensor> tensors = locate_safetensors(*file, names);
  std::vector<TensorReader> readers;
  for (std::size_t index = 0; index < names.size(); ++index)
    readers.push_back(TensorReader(file, std::move(tensors[index]), path + ": tensor " + names[index]));
  return readers;
}

void TensorReader::read(std::span<const Range> tokens_wanted, Type type, void* out) const {
  const bool as_it_is = row_type(tensor_.type) == type;
  const std::int64_t row = std::int64_t{heads()} * dim(), stored = element_bytes(tensor_.type), wanted = type_bytes(type);
  const std::int64_t piece = kPieceBytes / stored;  // elements
  std::vector<std::byte> staging;
  auto* to = static_cast<std::byte*>(out);
  for (const Range range : tokens_wanted) {
    if (!Range{0, tokens()}.contains(range))
      throw std::invalid_argument(name_ + ": has no tokens [" + std::to_string(range.begin) + ", " + std::to_string(range.end) +
                                  "), only " + std::to_string(tokens()));
    for (std::int64_t done = 0; done < range.size() * row;) {
      const std::int64_t now = std::min(range.size() * row - done, piece);
      const std::int64_t offset = tensor_.begin + (range.begin * row + done) * stored;
      if (!as_it_is && std::ssize(staging) < now * stored) staging.resize(static_cast<std::size_t>(now * stored));
      file_->read(as_it_is ? to : staging.data(), now * stored, offset);
      if (!as_it_is) read_elements(tensor_.type, staging.data(), now, type, to);
      done += now, to += now * wanted;
    }
  }
}

}  // namespace gyre
