// NumPy's .npy files: where the one tensor of a file lies. The text of the header is npy_header's.
#pragma once

#include <string_view>

#include "runtime/io/regular_file.hpp"
#include "runtime/io/stored_tensor.hpp"

namespace gyre {

/// "<f4" and the like; `other` if it is a type that is never read, as those that are big endian are not.
FileType npy_type(std::string_view descr);

/// Throws std::invalid_argument naming the file and what is wrong with it: not .npy, Fortran order, a header that
/// lies about the file's size. Any element type and any shape.
StoredTensor locate_npy(const RegularFile& file);

}  // namespace gyre
