#include "runtime/io/tensor_writer.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <utility>

#include "runtime/io/file_elements.hpp"
#include "runtime/io/npy_header.hpp"
#include "runtime/io/safetensors_header.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{8} << 20;

std::string header_of(const std::string& path, const FileContent& content) {
  try {
    if (content.shape.empty()) throw std::invalid_argument("a tensor file needs at least one extent");
    if (path.ends_with(".safetensors")) return safetensors_header(content.name, content.type, content.shape);
    return npy_header(content.type, content.shape);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
}

std::int64_t whole_bytes(const std::string& path, const FileContent& content, const std::string& header) {
  try {
    const std::int64_t data = data_bytes(content.shape, element_bytes(content.type));
    if (data > std::numeric_limits<std::int64_t>::max() - std::ssize(header))
      throw std::invalid_argument("has more than 2^63 bytes");
    return std::ssize(header) + data;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
}

}  // namespace

TensorWriter::TensorWriter(const std::string& path, const FileContent& content, bool create)
    : TensorWriter(path, content, header_of(path, content), create) {}

TensorWriter::TensorWriter(const std::string& path, const FileContent& content, const std::string& header, bool create)
    : path_(path),
      content_(content),
      begin_(static_cast<std::int64_t>(header.size())),
      file_(path, whole_bytes(path, content_, header), create) {
  if (!create) return;
  try {
    file_.write(0, header);
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(error.what());
  }
}

void TensorWriter::write(std::span<const Range> tokens, const float* rows) {
  const std::int64_t row = data_bytes(std::span(content_.shape).subspan(1), 1), stored = element_bytes(content_.type);
  std::vector<std::byte> staging;
  for (const Range range : tokens) {
    if (!Range{0, content_.shape[0]}.contains(range)) throw std::invalid_argument(path_ + ": has no such rows");
    for (std::int64_t done = 0; done < range.size() * row;) {
      const std::int64_t now = std::min(range.size() * row - done, kPieceBytes / stored);
      staging.resize(static_cast<std::size_t>(std::max(std::ssize(staging), now * stored)));
      const std::int64_t beyond = write_elements(content_.type, rows, now, staging.data());
      if (beyond >= 0) {
        char digits[32];
        std::snprintf(digits, sizeof(digits), "%g", rows[beyond]);
        throw std::invalid_argument(path_ + ": token " + std::to_string(range.begin + (done + beyond) / row) + " has " + digits +
                                    ", which is beyond " + to_string(content_.type) + "; choose --out-dtype f32");
      }
      const auto bytes = std::span<const std::byte>(staging).first(static_cast<std::size_t>(now * stored));
      file_.write(begin_ + (range.begin * row + done) * stored, bytes);
      done += now, rows += now;
    }
  }
}

}  // namespace gyre
