#include "runtime/io/npy_header.hpp"

#include <charconv>
#include <limits>
#include <optional>
#include <stdexcept>

namespace gyre {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

/// Reads the few kinds of Python literals that a header consists of.
class Literal {
 public:
  explicit Literal(std::string_view text) : text_(text) {}

  bool take(char wanted) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail(std::string("'") + wanted + "'");
  }
  std::string string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("a string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("the end of a string");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    if (word("False")) return false;
    if (word("True")) return true;
    fail("True or False");
  }
  std::vector<std::int64_t> integers() {  // (), (1,), (1, 2)
    std::vector<std::int64_t> values;
    expect('(');
    while (!take(')')) {
      values.push_back(integer());
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }
  void expect_end() {
    skip_space();
    if (at_ != text_.size()) fail("the end");
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool word(std::string_view wanted) {
    skip_space();
    if (!text_.substr(at_).starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }
  std::int64_t integer() {
    skip_space();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc{} || value < 0) fail("an extent below 2^63");
    at_ = static_cast<std::size_t>(end - text_.data());
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // files written by Python 2
    return value;
  }
  [[noreturn]] void fail(const std::string& wanted) const {
    throw std::invalid_argument("its header is not understood: " + wanted + " is missing at byte " + std::to_string(at_));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

NpyHeaderPlace locate_npy_header(std::string_view first_bytes) {
  if (!first_bytes.starts_with(kMagic) || first_bytes.size() < kMagic.size() + 4)
    throw std::invalid_argument("is not a .npy file; write one with numpy.save");
  const auto byte = [&](std::size_t at) { return std::int64_t{static_cast<unsigned char>(first_bytes[at])}; };
  const std::int64_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0)
    throw std::invalid_argument("has version " + std::to_string(major) + "." + std::to_string(minor) +
                                " of the .npy format; 1.0, 2.0 and 3.0 are read");
  if (major > 1 && first_bytes.size() < kNpyPrefixBytes) throw std::invalid_argument("is truncated: its header is not complete");
  const NpyHeaderPlace place = major == 1
                                   ? NpyHeaderPlace{.begin = 10, .bytes = byte(8) | byte(9) << 8}
                                   : NpyHeaderPlace{.begin = 12, .bytes = byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24};
  if (place.bytes > kNpyHeaderMost)
    throw std::invalid_argument("says that its header has " + std::to_string(place.bytes) + " bytes; at most " +
                                std::to_string(kNpyHeaderMost) + " are read: write it with numpy.save");
  return place;
}

NpyHeader parse_npy_header(std::string_view text) {
  Literal literal(text);
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;
  literal.expect('{');
  while (!literal.take('}')) {
    const std::string key = literal.string();
    literal.expect(':');
    if (key == "descr") {
      if (literal.take('[')) throw std::invalid_argument("holds records; save one array of numbers for each tensor");
      descr = literal.string();
    } else if (key == "fortran_order") {
      fortran_order = literal.boolean();
    } else if (key == "shape") {
      shape = literal.integers();
    } else {
      throw std::invalid_argument("its header has an unknown key '" + excerpt(key) + "'; write it with numpy.save");
    }
    if (!literal.take(',')) {
      literal.expect('}');
      break;
    }
  }
  literal.expect_end();
  if (!descr || !fortran_order || !shape)
    throw std::invalid_argument("its header lacks one of descr, fortran_order and shape; write it with numpy.save");
  return {.descr = std::move(*descr), .fortran_order = *fortran_order, .shape = std::move(*shape)};
}

std::string npy_header(FileType type, std::span<const std::int64_t> shape) {
  if (type == FileType::bf16) throw std::invalid_argument("is .npy, which has no bfloat16; give a name in .safetensors, or f32");
  const std::string descr = type == FileType::f16 ? "<f2" : type == FileType::f64 ? "<f8" : "<f4";
  std::string text = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  text += shape.size() == 1 ? ",), }" : "), }";
  const std::size_t before = kMagic.size() + 4;
  const std::size_t whole = (before + text.size() + 1 + 63) / 64 * 64;
  text.resize(whole - before - 1, ' ');
  text += '\n';

  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  return header + text;
}

}  // namespace gyre
