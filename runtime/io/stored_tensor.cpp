#include "runtime/io/stored_tensor.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace gyre {

std::int64_t element_bytes(FileType type) {
  switch (type) {
    case FileType::boolean:
    case FileType::u8:
    case FileType::i8:
      return 1;
    case FileType::u16:
    case FileType::i16:
    case FileType::f16:
    case FileType::bf16:
      return 2;
    case FileType::u32:
    case FileType::i32:
    case FileType::f32:
      return 4;
    case FileType::u64:
    case FileType::i64:
    case FileType::f64:
      return 8;
    case FileType::other:
      return 0;
  }
  return 0;
}

std::string to_string(FileType type) {
  constexpr const char* kNames[] = {"bool", "u8",  "i8",  "u16",  "i16", "u32", "i32",
                                    "u64",  "i64", "f16", "bf16", "f32", "f64", "other"};
  return kNames[static_cast<int>(type)];
}

std::int64_t data_bytes(std::span<const std::int64_t> shape, std::int64_t element_bytes) {
  // A zero extent must not hide an overflow of the others: strides are computed from them.
  std::int64_t bytes = element_bytes;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent == 0) empty = true;
    if (extent > 0 && bytes > std::numeric_limits<std::int64_t>::max() / extent)
      throw std::invalid_argument("has a shape of more than 2^63 bytes; no file is that large");
    if (extent > 0) bytes *= extent;
  }
  return empty ? 0 : bytes;
}

std::string type_text(const StoredTensor& tensor) {
  return "'" + excerpt(tensor.type_name) + (tensor.type_name.starts_with('>') ? "' (big endian)" : "'");
}

std::string shape_text(std::span<const std::int64_t> shape) {
  constexpr std::size_t kShown = 8;
  std::string text = "[";
  for (std::size_t axis = 0; axis < std::min(shape.size(), kShown); ++axis)
    text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  if (shape.size() > kShown) text += ", ... of " + std::to_string(shape.size()) + " extents";
  return text + "]";
}

std::string excerpt(std::string_view name) {
  constexpr std::size_t kLongest = 60;
  std::string shown(name.substr(0, kLongest));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  return name.size() > kLongest ? shown + "..." : shown;
}

}  // namespace gyre
