// Elements of files into rows and back, rounded once: to the nearest, ties to even, infinite beyond the range of the new type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/tensor.hpp"
#include "runtime/io/stored_tensor.hpp"

namespace gyre {

/// The same type in rows. Nothing for f64 and what is no floating-point number.
std::optional<Type> row_type(FileType type);

/// Whether rows can be read from elements of that type: f16, bf16, f32, f64.
bool is_float(FileType type);

/// `count` elements. Both addresses are aligned to an element; the two ranges do not overlap.
void read_elements(FileType type, const void* from, std::int64_t count, Type to, void* out);

/// The other way. Returns the index of the first finite value that is infinite in `type`, or -1.
std::int64_t write_elements(FileType type, const float* from, std::int64_t count, void* out);

}  // namespace gyre
