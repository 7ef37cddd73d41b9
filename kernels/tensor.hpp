// Views of dense tensors. Nothing here owns memory.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace gyre {

/// Element types of storage and wire. Arithmetic accumulates in fp32 whatever the type.
enum class Type : std::uint8_t { f32, bf16, f16 };

inline constexpr std::int64_t type_bytes(Type type) {
  return type == Type::f32 ? 4 : 2;
}
std::string to_string(Type type);          // f32, bf16, f16
Type parse_type(const std::string& text);  // throws std::invalid_argument naming the three

/// The upper half of an fp32 number: 8 bits of exponent, 7 of fraction. Conversions are in kernels/convert.hpp.
struct bf16 {
  std::uint16_t bits = 0;
};
/// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; 65504 is the largest.
struct f16 {
  std::uint16_t bits = 0;
};

template <class Element>
concept Stored = std::same_as < std::remove_const_t<Element>,
float > || std::same_as<std::remove_const_t<Element>, bf16> || std::same_as<std::remove_const_t<Element>, f16>;

template <Stored Element>
inline constexpr Type kTypeOf = std::same_as<std::remove_const_t<Element>, float>  ? Type::f32
                                : std::same_as<std::remove_const_t<Element>, bf16> ? Type::bf16
                                                                                   : Type::f16;

/// [tokens, heads, dim], strides in elements; the innermost dimension is contiguous.
template <class Element>
struct Rows {
  Element* data = nullptr;
  std::int64_t tokens = 0;
  int heads = 0;
  int dim = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;

  Rows() = default;
  /// Dense, C order.
  Rows(Element* first, std::int64_t token_count, int head_count, int row_dim)
      : data(first),
        tokens(token_count),
        heads(head_count),
        dim(row_dim),
        token_stride(std::int64_t{head_count} * row_dim),
        head_stride(row_dim) {}
  Element* row(std::int64_t token, int head) const { return data + token * token_stride + head * head_stride; }
  operator Rows<const Element>() const {
    Rows<const Element> view;
    view.data = data, view.tokens = tokens, view.heads = heads, view.dim = dim;
    view.token_stride = token_stride, view.head_stride = head_stride;
    return view;
  }
};

/// Rows whose element type is known when the program runs. Void is `const void` or `void`. Made implicitly from Rows of a stored
/// type, so a caller's bf16 tensors need no copy in fp32.
template <class Void>
struct RowsOf {
  using Byte = std::conditional_t<std::is_const_v<Void>, const std::byte, std::byte>;

  Void* data = nullptr;
  Type type = Type::f32;
  std::int64_t tokens = 0;
  int heads = 0;
  int dim = 0;
  std::int64_t token_stride = 0;  // elements
  std::int64_t head_stride = 0;

  RowsOf() = default;
  /// Dense, C order.
  RowsOf(Void* first, Type element, std::int64_t token_count, int head_count, int row_dim)
      : data(first),
        type(element),
        tokens(token_count),
        heads(head_count),
        dim(row_dim),
        token_stride(std::int64_t{head_count} * row_dim),
        head_stride(row_dim) {}
  template <Stored Element>
  requires std::convertible_to<Element*, Void*> RowsOf(Element* first, std::int64_t token_count, int head_count, int row_dim)
      : RowsOf(first, kTypeOf<Element>, token_count, head_count, row_dim) {}
  template <Stored Element>
  requires std::convertible_to<Element*, Void*> RowsOf(const Rows<Element>& rows)  // NOLINT(google-explicit-constructor): a view
      : RowsOf(rows.data, rows.tokens, rows.heads, rows.dim) {
    token_stride = rows.token_stride, head_stride = rows.head_stride;
  }
  template <std::same_as<void> Mutable>
  requires std::is_const_v<Void> RowsOf(const RowsOf<Mutable>& rows)  // NOLINT(google-explicit-constructor): const is added
      : RowsOf(rows.data, rows.type, rows.tokens, rows.heads, rows.dim) {
    token_stride = rows.token_stride, head_stride = rows.head_stride;
  }

  Byte* row(std::int64_t token, int head) const {
    return static_cast<Byte*>(data) + (token * token_stride + head * head_stride) * type_bytes(type);
  }
};

using TypedRows = RowsOf<const void>;
using TypedOutRows = RowsOf<void>;

}  // namespace gyre
