#include "kernels/convert.hpp"

#include <cstring>

namespace gyre {
namespace {

template <class From, class To>
void convert_all(const void* from, void* to, std::int64_t count) {
  const auto* source = static_cast<const From*>(from);
  auto* target = static_cast<To*>(to);
  for (std::int64_t i = 0; i < count; ++i) target[i] = from_float<To>(to_float(source[i]));
}

template <class From>
void convert_from(const void* from, void* to, Type to_type, std::int64_t count) {
  switch (to_type) {
    case Type::f32:
      return convert_all<From, float>(from, to, count);
    case Type::bf16:
      return convert_all<From, bf16>(from, to, count);
    case Type::f16:
      return convert_all<From, f16>(from, to, count);
  }
}

}  // namespace

void convert(const void* from, Type from_type, void* to, Type to_type, std::int64_t count) {
  if (count <= 0) return;
  if (from_type == to_type) {
    std::memcpy(to, from, static_cast<std::size_t>(count * type_bytes(to_type)));
    return;
  }
  switch (from_type) {
    case Type::f32:
      return convert_from<float>(from, to, to_type, count);
    case Type::bf16:
      return convert_from<bf16>(from, to, to_type, count);
    case Type::f16:
      return convert_from<f16>(from, to, to_type, count);
  }
}

}  // namespace gyre
