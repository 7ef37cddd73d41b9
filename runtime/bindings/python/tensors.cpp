#include "runtime/bindings/python/tensors.hpp"

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

namespace nb = nanobind;

namespace gyre::python {
namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw std::invalid_argument(text);
}

std::string kind_of(nb::handle object) {
  return nb::cast<std::string>(object.type().attr("__qualname__"));
}

std::string text_of(nb::dlpack::dtype dtype) {
  const auto bits = std::to_string(dtype.bits);
  switch (static_cast<nb::dlpack::dtype_code>(dtype.code)) {
    case nb::dlpack::dtype_code::Int:
      return "int" + bits;
    case nb::dlpack::dtype_code::UInt:
      return "uint" + bits;
    case nb::dlpack::dtype_code::Float:
      return "float" + bits;
    case nb::dlpack::dtype_code::Bfloat:
      return "bfloat" + bits;
    case nb::dlpack::dtype_code::Complex:
      return "complex" + bits;
    case nb::dlpack::dtype_code::Bool:
      return "bool";
    default:
      return "a type of " + bits + " bits";
  }
}

Type type_of(nb::dlpack::dtype dtype, const char* name) {
  if (dtype.lanes == 1) {
    const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
    if (code == nb::dlpack::dtype_code::Float && dtype.bits == 32) return Type::f32;
    if (code == nb::dlpack::dtype_code::Float && dtype.bits == 16) return Type::f16;
    if (code == nb::dlpack::dtype_code::Bfloat && dtype.bits == 16) return Type::bf16;
  }
  refuse(std::string(name) + " is " + text_of(dtype) + "; give float32, bfloat16 or float16");
}

nb::dlpack::dtype dtype_of(Type type) {
  const auto code = type == Type::bf16 ? nb::dlpack::dtype_code::Bfloat : nb::dlpack::dtype_code::Float;
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * type_bytes(type)), 1};
}

template <class Array>
std::string shape_text(const Array& array) {
  std::string text;
  for (std::size_t axis = 0; axis < array.ndim(); ++axis) text += (axis > 0 ? ", " : "") + std::to_string(array.shape(axis));
  return "[" + text + "]";
}

/// An array of the caller's, in main memory, whatever is in it.
template <class Array>
Array array_of(nb::handle given, const char* name, const char* access) {
  Array array;
  if (given.is_none() || !nb::try_cast(given, array)) {
    PyErr_Clear();
    if (nb::hasattr(given, "requires_grad") && nb::cast<bool>(given.attr("requires_grad")))
      refuse(std::string(name) + " requires gradients; give " + name + ".detach(), or use gyre.torch");
    refuse(std::string(name) + " is a " + kind_of(given) + "; give " + access +
           " array that has DLPack or a buffer: NumPy, PyTorch or JAX");
  }
  if (array.device_type() != nb::device::cpu::value) refuse(std::string(name) + " does not lie in main memory; move it to the CPU");
  return array;
}

void require_contiguous_rows(const auto& array, const char* name) {
  const std::size_t last = array.ndim() - 1;
  if (array.shape(last) > 1 && array.size() > 0 && array.stride(last) != 1)
    refuse(std::string(name) + " has a stride of " + std::to_string(array.stride(last)) +
           " elements along its last axis; only the others may have strides: copy it to a contiguous one");
}

template <class Rows, class Array>
Rows rows_of(const Array& array, const Wanted& wanted) {
  if (array.ndim() != 3 || static_cast<std::int64_t>(array.shape(0)) != wanted.tokens ||
      static_cast<int>(array.shape(1)) != wanted.heads || static_cast<int>(array.shape(2)) != wanted.dim) {
    refuse(std::string(wanted.name) + " has shape " + shape_text(array) + "; this rank's is [" + std::to_string(wanted.tokens) +
           ", " + std::to_string(wanted.heads) + ", " + std::to_string(wanted.dim) + "]: " + wanted.axes);
  }
  require_contiguous_rows(array, wanted.name);
  Rows rows(array.data(), type_of(array.dtype(), wanted.name), wanted.tokens, wanted.heads, wanted.dim);
  if (wanted.tokens > 1) rows.token_stride = array.stride(0);
  if (wanted.heads > 1) rows.head_stride = array.stride(1);
  if (wanted.tokens > 0 && (rows.token_stride < wanted.dim || rows.head_stride < wanted.dim))
    refuse(std::string(wanted.name) + " has strides of " + std::to_string(rows.token_stride) + " and " +
           std::to_string(rows.head_stride) + " elements between tokens and heads; rows of " + std::to_string(wanted.dim) +
           " would overlap: copy it to a contiguous one");
  return rows;
}

struct Memory {
  void* data;
  nb::capsule owner;
};

Memory allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  void* const data = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  if (data == nullptr) throw std::bad_alloc();
  return {data, nb::capsule(data, [](void* memory) noexcept { std::free(memory); })};
}

enum class Framework : std::uint8_t { numpy, torch, jax };

/// Of the array that results are to be like.
Framework framework_of(nb::handle array) {
  const auto name = nb::cast<std::string>(array.type().attr("__module__"));
  if (name.starts_with("torch")) return Framework::torch;
  if (name.starts_with("jax")) return Framework::jax;
  return Framework::numpy;
}

/// JAX hands its arrays out as if they could be written, and takes it for granted that nobody does.
void require_writable(nb::handle given, const char* name) {
  if (framework_of(given) == Framework::jax)
    refuse(std::string(name) + " is an array of JAX, which is never written; leave it out: the result is a new one");
}

nb::object made(const Memory& memory, std::size_t axes, const std::size_t* shape, Type type, Framework framework) {
  const auto as = [&]<class Tag>(Tag) {
    return nb::cast(nb::ndarray<Tag>(memory.data, axes, shape, memory.owner, nullptr, dtype_of(type), nb::device::cpu::value));
  };
  switch (framework) {
    case Framework::torch:
      return as(nb::pytorch{});
    case Framework::jax:
      return as(nb::jax{});
    default:
      return as(nb::numpy{});
  }
}

template <class Array>
void require_statistics(const Array& array, const char* name, std::int64_t tokens, int heads) {
  if (array.ndim() != 2 || static_cast<std::int64_t>(array.shape(0)) != tokens || static_cast<int>(array.shape(1)) != heads)
    refuse(std::string(name) + " has shape " + shape_text(array) + "; this rank's is [" + std::to_string(tokens) + ", " +
           std::to_string(heads) + "]: query tokens, query heads");
  if (type_of(array.dtype(), name) != Type::f32) refuse(std::string(name) + " is " + text_of(array.dtype()) + "; give float32");
  require_contiguous_rows(array, name);
  if (tokens > 1 && array.stride(0) != heads) refuse(std::string(name) + " is not contiguous; copy it to one that is");
}

template <class Array>
void require_heads(const Array& array, const char* name, int heads) {
  if (array.ndim() != 1 || static_cast<std::int64_t>(array.shape(0)) != heads)
    refuse(std::string(name) + " has shape " + shape_text(array) + "; give [" + std::to_string(heads) + "]: query heads");
  if (type_of(array.dtype(), name) != Type::f32) refuse(std::string(name) + " is " + text_of(array.dtype()) + "; give float32");
  require_contiguous_rows(array, name);
}

Statistics made_statistics(std::size_t axes, const std::size_t* shape, nb::handle like) {
  std::size_t bytes = sizeof(float);
  for (std::size_t axis = 0; axis < axes; ++axis) bytes *= shape[axis];
  const Memory memory = allocate(bytes);
  return {made(memory, axes, shape, Type::f32, framework_of(like)), static_cast<float*>(memory.data)};
}

}  // namespace

Input input(nb::handle given, const Wanted& wanted) {
  Input result;
  result.array = array_of<nb::ndarray<nb::ro>>(given, wanted.name, "an");
  result.rows = rows_of<TypedRows>(result.array, wanted);
  return result;
}

Output output(nb::handle given, const Wanted& wanted, nb::handle like, Type type) {
  if (!given.is_none()) {
    require_writable(given, wanted.name);
    const auto array = array_of<nb::ndarray<>>(given, wanted.name, "a writable");
    return {nb::borrow(given), rows_of<TypedOutRows>(array, wanted)};
  }
  const std::size_t shape[] = {static_cast<std::size_t>(wanted.tokens), static_cast<std::size_t>(wanted.heads),
                               static_cast<std::size_t>(wanted.dim)};
  const Memory memory = allocate(shape[0] * shape[1] * shape[2] * type_bytes(type));
  return {made(memory, 3, shape, type, framework_of(like)),
          TypedOutRows(memory.data, type, wanted.tokens, wanted.heads, wanted.dim)};
}

Statistics read_statistics(nb::handle given, const char* name, std::int64_t tokens, int heads) {
  const auto array = array_of<nb::ndarray<nb::ro>>(given, name, "an");
  require_statistics(array, name, tokens, heads);
  return {nb::borrow(given), const_cast<float*>(static_cast<const float*>(array.data()))};
}

Statistics written_statistics(nb::handle given, const char* name, std::int64_t tokens, int heads, nb::handle like) {
  if (!given.is_none()) {
    require_writable(given, name);
    const auto array = array_of<nb::ndarray<>>(given, name, "a writable");
    require_statistics(array, name, tokens, heads);
    return {nb::borrow(given), static_cast<float*>(array.data())};
  }
  const std::size_t shape[] = {static_cast<std::size_t>(tokens), static_cast<std::size_t>(heads)};
  return made_statistics(2, shape, like);
}

Statistics read_heads(nb::handle given, const char* name, int heads) {
  const auto array = array_of<nb::ndarray<nb::ro>>(given, name, "an");
  require_heads(array, name, heads);
  return {nb::borrow(given), const_cast<float*>(static_cast<const float*>(array.data()))};
}

Statistics written_heads(nb::handle given, const char* name, int heads, nb::handle like) {
  if (!given.is_none()) {
    require_writable(given, name);
    const auto array = array_of<nb::ndarray<>>(given, name, "a writable");
    require_heads(array, name, heads);
    return {nb::borrow(given), static_cast<float*>(array.data())};
  }
  const std::size_t shape[] = {static_cast<std::size_t>(heads)};
  return made_statistics(1, shape, like);
}

}  // namespace gyre::python
