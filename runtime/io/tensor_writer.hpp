// A tensor file that ranks write together. It comes into being under its name only when it is whole. The same for every file
// format.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "partition/units.hpp"
#include "runtime/io/stored_tensor.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {

/// What a file is to hold.
struct FileContent {
  std::string name;                 // of the tensor, in formats that have names
  FileType type = FileType::f32;    // f16, bf16 (not in .npy), f32 or f64
  std::vector<std::int64_t> shape;  // [tokens, ...]
};

class TensorWriter {
 public:
  /// Local. The format is .safetensors where the path ends so, else .npy. With `create` (one rank) a temporary file beside `path`
  /// is made at full size; the others open it after that. Throws std::invalid_argument if that cannot be done.
  TensorWriter(const std::string& path, const FileContent& content, bool create);

  /// Writes token ranges one after the other from `rows`, [sum of ranges, rest of shape], rounded to nearest, ties to even, in
  /// pieces of 8 MiB. Throws std::invalid_argument on a finite value that is beyond the file's type, std::runtime_error if the
  /// system does not take the bytes.
  void write(std::span<const Range> tokens, const float* rows);
  /// On the creator, after every rank has written: gives the file its name.
  void publish() { file_.publish(); }

 private:
  TensorWriter(const std::string& path, const FileContent& content, const std::string& header, bool create);

  std::string path_;
  FileContent content_;
  std::int64_t begin_;  // of the data
  WholeFile file_;
};

}  // namespace gyre
