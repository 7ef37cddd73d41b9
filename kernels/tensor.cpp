#include "kernels/tensor.hpp"

#include <stdexcept>

namespace gyre {

std::string to_string(Type type) {
  return type == Type::f32 ? "f32" : type == Type::bf16 ? "bf16" : "f16";
}

Type parse_type(const std::string& text) {
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    if (text == to_string(type)) return type;
  }
  throw std::invalid_argument("type '" + text + "' is unknown; use f32, bf16 or f16");
}

}  // namespace gyre
