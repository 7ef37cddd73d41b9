// The header of a GGUF file: metadata, and where the tensors lie. No files here, only bytes.
//
//   GGUF  version u32  tensors u64  pairs u64
//   pairs x {key text, type u32, value}         an array: type u32, count u64, values
//   tensors x {name text, dims u32, extents u64[dims], type u32, offset u64}
//   padding to general.alignment (32), data; offsets count from here
//
// Little-endian. A text is its length, u64, and its bytes. Format: ggml's docs/gguf.md, versions 2 and 3.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bench/longbook/block_format.hpp"

namespace gyre::longbook {

/// Integers of any width are one type here, and so are floating-point numbers; bools in arrays are integers.
using GgufValue =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  std::int64_t rows = 0, columns = 0;   // elements of a row are neighbours; vectors have one row
  const BlockFormat* format = nullptr;  // rows are whole blocks
  std::int64_t begin = 0, end = 0;      // bytes of the file
};

/// A header has a vocabulary in it: some megabytes. What claims to be longer is a lie about the file, or an attempt on memory.
inline constexpr std::int64_t kGgufHeaderMost = std::int64_t{64} << 20;

class GgufHeader {
 public:
  /// bytes: the beginning of a file of file_bytes, all of it or kGgufHeaderMost. Every tensor lies inside the file, behind the
  /// header, and none over another. Throws std::invalid_argument saying what is not understood; the message wants the file's name
  /// before it.
  static GgufHeader parse(std::string_view bytes, std::int64_t file_bytes);

  /// Null if there is no such key. Throws std::invalid_argument if its value is of another type.
  template <class Value>
  const Value* find(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) return nullptr;
    if (const Value* value = std::get_if<Value>(&found->second)) return value;
    throw std::invalid_argument("has metadata " + key + " of another type than a model's");
  }
  /// Throws std::invalid_argument if there is no such key.
  template <class Value>
  const Value& at(const std::string& key) const {
    if (const Value* value = find<Value>(key)) return *value;
    throw std::invalid_argument("lacks the metadata " + key + "; take a file that was converted with it");
  }

  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }  // by name

 private:
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensor> tensors_;
};

}  // namespace gyre::longbook
