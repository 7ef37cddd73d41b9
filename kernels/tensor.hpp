// Views of dense tensors. Nothing here owns memory.
#pragma once

#include <cstdint>
#include <string>

namespace gyre {

/// Element types of storage and wire. Arithmetic accumulates in fp32 whatever the type.
enum class Type : std::uint8_t { f32 };

inline constexpr std::int64_t type_bytes(Type) {
  return 4;
}
std::string to_string(Type type);

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

}  // namespace gyre
