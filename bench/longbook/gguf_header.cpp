#include "bench/longbook/gguf_header.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace gyre::longbook {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

[[noreturn]] void fail(const std::string& what) {
  throw std::invalid_argument(what);
}

/// Of names in messages: what a terminal would not show, and what would fill it, is left out.
std::string in_quotes(std::string_view name) {
  std::string shown = "'";
  for (const char letter : name.substr(0, 80)) shown += letter >= ' ' && letter <= '~' ? letter : '?';
  return shown + (name.size() > 80 ? "...'" : "'");
}

/// Reads little-endian values one after the other, and no byte beyond the last.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  std::string_view take(std::uint64_t count) {
    if (count > left())
      fail("is truncated, or no GGUF file: at byte " + std::to_string(at_) + " of its header " + std::to_string(count) +
           " bytes are missing beyond byte " + std::to_string(bytes_.size()));
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  template <class Value>
  Value value() {
    Value read;
    std::memcpy(&read, take(sizeof(read)).data(), sizeof(read));
    return read;
  }
  std::string_view text() { return take(value<std::uint64_t>()); }
  /// Of things that take `least` bytes each: fewer than the header can hold.
  std::uint64_t count(std::uint64_t least, const std::string& of) {
    const auto number = value<std::uint64_t>();
    if (number > left() / least)
      fail("says that it has " + std::to_string(number) + " " + of + ", but only " + std::to_string(left()) +
           " bytes of its header are left; it is truncated, or no GGUF file");
    return number;
  }
  std::uint64_t at() const { return at_; }

 private:
  std::uint64_t left() const { return bytes_.size() - at_; }

  std::string_view bytes_;
  std::uint64_t at_ = 0;
};

enum class ValueType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

template <class Stored>
std::int64_t integer(Cursor& cursor) {
  const auto stored = cursor.value<Stored>();
  if (std::cmp_greater(stored, kMost)) fail("has an integer of " + std::to_string(stored) + " in its metadata; 2^63 is too large");
  return static_cast<std::int64_t>(stored);
}

/// A byte that is neither 0 nor 1 is no bool.
bool boolean(Cursor& cursor, const std::string& key) {
  const auto stored = cursor.value<std::uint8_t>();
  if (stored > 1) fail("has a bool of " + std::to_string(stored) + " in its metadata " + in_quotes(key));
  return stored != 0;
}

[[noreturn]] void refuse_type(ValueType type, const std::string& key) {
  fail("has a value of type " + std::to_string(static_cast<std::uint32_t>(type)) + " in its metadata " + in_quotes(key) +
       "; 0 to 12 are read, and no array of arrays");
}

/// The integer of a type that is one.
std::int64_t integer_of(Cursor& cursor, ValueType type, const std::string& key) {
  switch (type) {
    case ValueType::u8:
      return integer<std::uint8_t>(cursor);
    case ValueType::i8:
      return integer<std::int8_t>(cursor);
    case ValueType::u16:
      return integer<std::uint16_t>(cursor);
    case ValueType::i16:
      return integer<std::int16_t>(cursor);
    case ValueType::u32:
      return integer<std::uint32_t>(cursor);
    case ValueType::i32:
      return integer<std::int32_t>(cursor);
    case ValueType::u64:
      return integer<std::uint64_t>(cursor);
    case ValueType::i64:
      return integer<std::int64_t>(cursor);
    case ValueType::boolean:
      return boolean(cursor, key) ? 1 : 0;
    default:
      refuse_type(type, key);
  }
}

template <class Value, class Read>
std::vector<Value> array(Cursor& cursor, std::uint64_t least_bytes, const std::string& key, const Read& read) {
  const std::uint64_t count = cursor.count(least_bytes, "values of metadata " + in_quotes(key));
  std::vector<Value> values;
  values.reserve(count);
  for (std::uint64_t index = 0; index < count; ++index) values.push_back(read());
  return values;
}

GgufValue array_of(Cursor& cursor, const std::string& key) {
  const auto type = static_cast<ValueType>(cursor.value<std::uint32_t>());
  switch (type) {
    case ValueType::text:
      return array<std::string>(cursor, 8, key, [&] { return std::string(cursor.text()); });
    case ValueType::f32:
      return array<double>(cursor, 4, key, [&] { return static_cast<double>(cursor.value<float>()); });
    case ValueType::f64:
      return array<double>(cursor, 8, key, [&] { return cursor.value<double>(); });
    default:
      return array<std::int64_t>(cursor, 1, key, [&] { return integer_of(cursor, type, key); });
  }
}

GgufValue value_of(Cursor& cursor, const std::string& key) {
  const auto type = static_cast<ValueType>(cursor.value<std::uint32_t>());
  switch (type) {
    case ValueType::boolean:
      return boolean(cursor, key);
    case ValueType::text:
      return std::string(cursor.text());
    case ValueType::array:
      return array_of(cursor, key);
    case ValueType::f32:
      return static_cast<double>(cursor.value<float>());
    case ValueType::f64:
      return cursor.value<double>();
    default:
      return integer_of(cursor, type, key);
  }
}

std::int64_t extent(Cursor& cursor, const std::string& tensor) {
  const auto read = cursor.value<std::uint64_t>();
  if (read == 0 || read > std::uint64_t{1} << 40)
    fail("has " + tensor + " with an extent of " + std::to_string(read) + "; 1 to 2^40 are read");
  return static_cast<std::int64_t>(read);
}

/// With its place counted from the first byte of the data.
GgufTensor tensor_of(Cursor& cursor) {
  GgufTensor tensor{.name = std::string(cursor.text())};
  const std::string name = "tensor " + in_quotes(tensor.name);
  const auto dims = cursor.value<std::uint32_t>();
  if (dims < 1 || dims > 2) fail("has " + name + " of " + std::to_string(dims) + " dimensions; a Llama's have 1 or 2");
  tensor.columns = extent(cursor, name);
  tensor.rows = dims == 2 ? extent(cursor, name) : 1;
  const auto type = cursor.value<std::uint32_t>();
  tensor.format = find_block_format(type);
  if (tensor.format == nullptr)
    fail("has " + name + " of type " + std::to_string(type) + "; read are " + block_format_names() +
         ": quantise the model to one of them");
  if (tensor.columns % tensor.format->elements != 0)
    fail("has " + name + " with rows of " + std::to_string(tensor.columns) + " elements, which are no whole blocks of " +
         tensor.format->name + " (" + std::to_string(tensor.format->elements) + " elements)");
  const std::int64_t row_bytes = tensor.columns / tensor.format->elements * tensor.format->bytes;  // below 2^43
  const auto offset = cursor.value<std::uint64_t>();
  if (tensor.rows > kMost / 2 / row_bytes || offset > static_cast<std::uint64_t>(kMost / 4))
    fail("has " + name + " that would end beyond 2^62 bytes");
  tensor.begin = static_cast<std::int64_t>(offset);
  tensor.end = tensor.begin + tensor.rows * row_bytes;
  return tensor;
}

/// Inside the file, behind one another, at multiples of the alignment.
void require_places(const std::map<std::string, GgufTensor>& tensors, std::int64_t data_begin, std::int64_t alignment,
                    std::int64_t file_bytes) {
  std::vector<const GgufTensor*> by_place;
  by_place.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  const GgufTensor* before = nullptr;
  for (const GgufTensor* tensor : by_place) {
    const std::string name = "tensor " + in_quotes(tensor->name);
    if (tensor->end > file_bytes)
      fail("ends at byte " + std::to_string(file_bytes) + ", but " + name + " at " + std::to_string(tensor->end) +
           "; it is truncated: fetch it again");
    if ((tensor->begin - data_begin) % alignment != 0)
      fail("has " + name + " at byte " + std::to_string(tensor->begin) + ", which is not aligned to " + std::to_string(alignment));
    if (before != nullptr && before->end > tensor->begin) fail("has " + name + " over tensor " + in_quotes(before->name));
    before = tensor;
  }
}

}  // namespace

GgufHeader GgufHeader::parse(std::string_view bytes, std::int64_t file_bytes) {
  if (!bytes.starts_with("GGUF")) fail("is not a GGUF file: it does not begin with GGUF");
  Cursor cursor(bytes.substr(0, kGgufHeaderMost));
  cursor.take(4);
  const auto version = cursor.value<std::uint32_t>();
  if (version != 2 && version != 3)
    fail("has version " + std::to_string(version) + " of the GGUF format, or another byte order; 2 and 3 are read");
  const std::uint64_t tensor_count = cursor.count(24, "tensors"), pair_count = cursor.count(13, "pairs of metadata");

  GgufHeader header;
  for (std::uint64_t pair = 0; pair < pair_count; ++pair) {
    const std::string key(cursor.text());
    GgufValue value = value_of(cursor, key);
    if (!header.metadata_.emplace(key, std::move(value)).second) fail("has the metadata " + in_quotes(key) + " twice");
  }
  const std::int64_t* const given = header.find<std::int64_t>("general.alignment");
  const std::int64_t alignment = given == nullptr ? 32 : *given;
  if (alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1)) != 0)
    fail("has general.alignment " + std::to_string(alignment) + "; powers of two up to 2^20 are read");

  for (std::uint64_t index = 0; index < tensor_count; ++index) {
    GgufTensor tensor = tensor_of(cursor);
    const std::string name = tensor.name;
    if (!header.tensors_.emplace(name, std::move(tensor)).second) fail("has the tensor " + in_quotes(name) + " twice");
  }
  const std::int64_t end = static_cast<std::int64_t>(cursor.at()), data_begin = (end + alignment - 1) / alignment * alignment;
  for (auto& [name, tensor] : header.tensors_) tensor.begin += data_begin, tensor.end += data_begin;
  require_places(header.tensors_, data_begin, alignment, file_bytes);
  return header;
}

}  // namespace gyre::longbook
