// .safetensors files: where tensors of a given name lie. The text of the header is safetensors_header's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/io/regular_file.hpp"
#include "runtime/io/stored_tensor.hpp"

namespace gyre {

/// The tensors of those names, in that order; others may be there. Any type and shape. Throws std::invalid_argument naming the file
/// and what is wrong with it: what parse_safetensors_header() refuses, a header that is longer than the file, a tensor that is
/// missing.
std::vector<StoredTensor> locate_safetensors(const RegularFile& file, std::span<const std::string> names);

}  // namespace gyre
