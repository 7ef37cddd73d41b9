#include "runtime/io/safetensors_header.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

namespace gyre {
namespace {

using Json = nlohmann::json;

constexpr const char* kRemedy = "; write it again with the safetensors library";

[[noreturn]] void fail(const std::string& what) {
  throw std::invalid_argument(what + kRemedy);
}

std::string in_quotes(std::string_view name) {
  return "'" + excerpt(name) + "'";
}

struct Width {
  std::string_view name;
  int bits;
  FileType type;
};
constexpr Width kWidths[] = {
    {"BOOL", 8, FileType::boolean}, {"U8", 8, FileType::u8},         {"I8", 8, FileType::i8},         {"U16", 16, FileType::u16},
    {"I16", 16, FileType::i16},     {"U32", 32, FileType::u32},      {"I32", 32, FileType::i32},      {"U64", 64, FileType::u64},
    {"I64", 64, FileType::i64},     {"F16", 16, FileType::f16},      {"BF16", 16, FileType::bf16},    {"F32", 32, FileType::f32},
    {"F64", 64, FileType::f64},     {"F8_E4M3", 8, FileType::other}, {"F8_E5M2", 8, FileType::other}, {"C64", 64, FileType::other}};

const Width* find_width(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kWidths), std::end(kWidths), [&](const Width& w) { return w.name == name; });
  return found == std::end(kWidths) ? nullptr : found;
}

/// Events of the JSON parser, which is iterative: nothing here recurses, whatever the nesting, and what is deeper than a header
/// ends it.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  std::vector<SafetensorsEntry> take() { return std::move(entries_); }

  bool start_object(std::size_t) override {
    if (place_ == Place::before) return enter(Place::header);
    if (place_ != Place::header) fail("its header has an object where " + wanted() + " belongs");
    if (key_ == "__metadata__") return enter(Place::metadata);
    entries_.push_back({.name = key_, .type_name = {}, .shape = {}});
    type_.reset(), shape_.reset(), offsets_.reset();
    return enter(Place::tensor);
  }
  bool key(std::string& key) override {
    key_ = std::move(key);
    if (place_ == Place::tensor) require_new_field();
    if (place_ == Place::header) names_.push_back(key_);
    if (place_ == Place::metadata) metadata_.push_back(key_);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    if (place_ == Place::header) require_different(names_), require_different(metadata_);
    return enter(place_ == Place::header ? Place::after : Place::header);
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") fail("its header has an array where " + wanted() + " belongs");
    (key_ == "shape" ? shape_ : offsets_).emplace();
    return enter(Place::array);
  }
  bool end_array() override { return enter(Place::tensor); }
  bool number_unsigned(std::uint64_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse_number(std::to_string(value));
    return take_number(static_cast<std::int64_t>(value));
  }
  bool number_integer(std::int64_t value) override {
    if (value < 0) refuse_number(std::to_string(value));
    return take_number(value);
  }
  bool number_float(double, const std::string& text) override { refuse_number(excerpt(text)); }
  bool string(std::string& text) override {
    if (place_ == Place::metadata) return true;
    if (place_ != Place::tensor || key_ != "dtype") fail("its header has a text where " + wanted() + " belongs");
    type_ = std::move(text);
    return true;
  }
  bool null() override { fail("its header has null where " + wanted() + " belongs"); }
  bool boolean(bool) override { fail("its header has true or false where " + wanted() + " belongs"); }
  bool binary(binary_t&) override { return false; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("its header is not JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place : std::uint8_t { before, header, metadata, tensor, array, after };

  bool enter(Place place) {
    place_ = place;
    return true;
  }
  std::string wanted() const {
    switch (place_) {
      case Place::before:
      case Place::after:
        return "an object of tensors";
      case Place::header:
        return "the tensor " + in_quotes(key_);
      case Place::metadata:
        return "a text of __metadata__";
      case Place::array:
        return "an extent or an offset of tensor " + in_quotes(entries_.back().name);
      case Place::tensor:
        return key_ + " of tensor " + in_quotes(entries_.back().name);
    }
    return {};
  }
  void require_new_field() const {
    const std::string of = " of tensor " + in_quotes(entries_.back().name);
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") fail("its header has an unknown key " + in_quotes(key_) + of);
    if ((key_ == "dtype" && type_) || (key_ == "shape" && shape_) || (key_ == "data_offsets" && offsets_))
      fail("its header has " + key_ + of + " twice");
  }
  static void require_different(std::vector<std::string>& names) {
    std::sort(names.begin(), names.end());
    const auto same = std::adjacent_find(names.begin(), names.end());
    if (same != names.end()) fail("its header has " + in_quotes(*same) + " twice");
  }
  bool take_number(std::int64_t value) {
    if (place_ != Place::array) fail("its header has a number where " + wanted() + " belongs");
    (key_ == "shape" ? *shape_ : *offsets_).push_back(value);
    return true;
  }
  [[noreturn]] void refuse_number(const std::string& text) const {
    fail("its header has " + text + " where " + wanted() + " belongs, at least 0 and below 2^63");
  }
  void finish_tensor() {
    SafetensorsEntry& entry = entries_.back();
    if (!type_ || !shape_ || !offsets_) fail("tensor " + in_quotes(entry.name) + " lacks one of dtype, shape and data_offsets");
    if (offsets_->size() != 2)
      fail("tensor " + in_quotes(entry.name) + " has " + std::to_string(offsets_->size()) + " data_offsets, not 2");
    entry.type_name = std::move(*type_), entry.shape = std::move(*shape_);
    entry.begin = (*offsets_)[0], entry.end = (*offsets_)[1];
  }

  Place place_ = Place::before;
  std::string key_;
  std::optional<std::string> type_;
  std::optional<std::vector<std::int64_t>> shape_, offsets_;
  std::vector<std::string> names_, metadata_;
  std::vector<SafetensorsEntry> entries_;
};

void require_size(const SafetensorsEntry& entry) {
  const std::string tensor = "tensor " + in_quotes(entry.name);
  const std::string offsets = "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
  if (entry.begin > entry.end) fail(tensor + " ends before it begins: data_offsets " + offsets);
  const Width* const width = find_width(entry.type_name);
  if (width == nullptr) return;
  std::int64_t wanted = 0;
  try {
    wanted = data_bytes(entry.shape, width->bits / 8);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(tensor + " " + error.what());
  }
  if (wanted != entry.end - entry.begin)
    fail(tensor + " has data_offsets " + offsets + ", which are " + std::to_string(entry.end - entry.begin) + " bytes, but " +
         entry.type_name + " of shape " + shape_text(entry.shape) + " takes " + std::to_string(wanted));
}

/// One after the other, from the first byte of the data to the last.
void require_one_after_the_other(const std::vector<SafetensorsEntry>& entries, std::int64_t data_bytes) {
  std::int64_t end = 0;
  const SafetensorsEntry* before = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_bytes)
      throw std::invalid_argument("tensor " + in_quotes(entry.name) + " ends at byte " + std::to_string(entry.end) +
                                  " of the data, which has " + std::to_string(data_bytes) +
                                  "; the file is truncated or was not closed: write it again");
    const std::string after = before == nullptr ? "the data begins" : "tensor " + in_quotes(before->name) + " ends";
    if (entry.begin != end)
      fail("tensor " + in_quotes(entry.name) + " begins at byte " + std::to_string(entry.begin) + " of the data, but " + after +
           " at " + std::to_string(end) + (entry.begin < end ? ": they overlap" : ": the format allows no hole"));
    end = entry.end, before = &entry;
  }
  if (end != data_bytes)
    fail("holds " + std::to_string(data_bytes) + " bytes of data, of which the last " + std::to_string(data_bytes - end) +
         " belong to no tensor");
}

}  // namespace

std::int64_t safetensors_header_bytes(std::string_view first_bytes) {
  if (first_bytes.size() < kSafetensorsPrefixBytes)
    throw std::invalid_argument("is not a .safetensors file: it has " + std::to_string(first_bytes.size()) +
                                " bytes; write one with the safetensors library");
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, first_bytes.data(), sizeof(bytes));
  if (bytes > static_cast<std::uint64_t>(kSafetensorsHeaderMost))
    throw std::invalid_argument("says that its header has " + std::to_string(bytes) + " bytes; at most " +
                                std::to_string(kSafetensorsHeaderMost) +
                                " are allowed, so it is not a .safetensors file: write one with the safetensors library");
  return static_cast<std::int64_t>(bytes);
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view text, std::int64_t data_bytes) {
  if (!text.starts_with('{')) fail("is not a .safetensors file: its header does not begin with '{'");
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)  // where the parser would take the text to end
    fail("its header is not JSON at byte " + std::to_string(zero + 1));
  HeaderReader reader;
  Json::sax_parse(text, &reader);
  std::vector<SafetensorsEntry> entries = reader.take();
  for (const SafetensorsEntry& entry : entries) require_size(entry);
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  require_one_after_the_other(entries, data_bytes);
  return entries;
}

FileType safetensors_type(std::string_view name) {
  const Width* const width = find_width(name);
  return width == nullptr ? FileType::other : width->type;
}

std::string safetensors_header(std::string_view name, FileType type, std::span<const std::int64_t> shape) {
  const auto* const width = std::find_if(std::begin(kWidths), std::end(kWidths), [&](const Width& w) { return w.type == type; });
  nlohmann::ordered_json tensor;
  tensor["dtype"] = width->name;
  tensor["shape"] = std::vector<std::int64_t>(shape.begin(), shape.end());
  tensor["data_offsets"] = {0, data_bytes(shape, element_bytes(type))};
  nlohmann::ordered_json header;
  header[std::string(name)] = std::move(tensor);
  std::string text = header.dump();
  text.resize((text.size() + kSafetensorsPrefixBytes + 63) / 64 * 64 - kSafetensorsPrefixBytes, ' ');
  const std::uint64_t bytes = text.size();
  std::string prefix(sizeof(bytes), '\0');
  std::memcpy(prefix.data(), &bytes, sizeof(bytes));
  return prefix + text;
}

}  // namespace gyre
