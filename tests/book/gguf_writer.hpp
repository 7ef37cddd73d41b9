// Writes small GGUF files, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gyre::longbook {

template <class Value>
std::string stored(Value value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
inline std::string stored_text(std::string_view text) {
  return stored(std::uint64_t{text.size()}) + std::string(text);
}

class GgufWriter {
 public:
  enum Type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

  GgufWriter& pair(std::string_view key, std::uint32_t type, std::string_view value) {
    pairs_ += stored_text(key) + stored(type) + std::string(value);
    ++pair_count;
    return *this;
  }
  GgufWriter& integer(std::string_view key, std::uint32_t value) { return pair(key, u32, stored(value)); }
  GgufWriter& number(std::string_view key, float value) { return pair(key, f32, stored(value)); }
  GgufWriter& words(std::string_view key, std::string_view value) { return pair(key, text, stored_text(value)); }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string all = stored(std::uint32_t{text}) + stored(std::uint64_t{values.size()});
    for (const std::string& value : values) all += stored_text(value);
    return pair(key, array, all);
  }
  /// extents: columns, then rows.
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type, std::string_view data) {
    return place(name, extents, type, data_.size(), data);
  }
  GgufWriter& place(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type, std::uint64_t offset,
                    std::string_view data) {
    tensors_ += stored_text(name) + stored(static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) tensors_ += stored(extent);
    tensors_ += stored(type) + stored(offset);
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count;
    return *this;
  }

  std::string bytes() const {
    std::string file = "GGUF" + stored(version) + stored(tensor_count) + stored(pair_count) + pairs_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

  std::uint32_t version = 3;
  std::uint64_t tensor_count = 0, pair_count = 0;  // that the file claims

 private:
  std::string pairs_, tensors_, data_;
};

}  // namespace gyre::longbook
