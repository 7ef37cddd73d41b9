// Tensors in files, read by shard: no rank ever holds more than its own rows. The same for every file format.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/tensor.hpp"
#include "partition/units.hpp"
#include "runtime/io/regular_file.hpp"
#include "runtime/io/stored_tensor.hpp"

namespace gyre {

/// An open tensor of shape [tokens, heads, dim] (or [tokens, heads]: dim 1) in f16, bf16, f32 or f64.
class TensorReader {
 public:
  /// The tensor of a .npy file. Local. Throws std::invalid_argument naming the file and what is wrong with it: missing, not .npy,
  /// Fortran order, big endian, an element type or rank that is not supported, a header that lies about the file's size.
  explicit TensorReader(const std::string& path);
  /// Tensors of a .safetensors file, in the order of their names. Throws std::invalid_argument likewise, also where one is missing.
  static std::vector<TensorReader> from_safetensors(const std::string& path, std::span<const std::string> names);

  const std::string& name() const { return name_; }  // for messages: the file, and which tensor of several
  FileType type() const { return tensor_.type; }
  std::span<const std::int64_t> shape() const { return tensor_.shape; }  // 2 or 3 extents
  std::int64_t tokens() const { return tensor_.shape[0]; }
  int heads() const { return static_cast<int>(tensor_.shape[1]); }
  int dim() const { return tensor_.shape.size() == 3 ? static_cast<int>(tensor_.shape[2]) : 1; }

  /// Reads token ranges one after the other into `out`, [sum of ranges, heads, dim] of `type`: rounded to nearest, ties to even,
  /// infinite where beyond its range. In pieces of 8 MiB, with one such piece of memory where elements are converted.
  /// Thread-safe. Throws std::runtime_error if the file is shorter than it was.
  void read(std::span<const Range> tokens, Type type, void* out) const;

 private:
  TensorReader(std::shared_ptr<const RegularFile> file, StoredTensor tensor, std::string name);

  std::shared_ptr<const RegularFile> file_;
  StoredTensor tensor_;
  std::string name_;
};

}  // namespace gyre
