// A GGUF file: its header, and tensors as fp32.
#pragma once

#include <string>
#include <vector>

#include "bench/longbook/gguf_header.hpp"
#include "runtime/io/regular_file.hpp"

namespace gyre::longbook {

class GgufFile {
 public:
  /// Reads the header. Throws std::invalid_argument that begins with the path.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  std::int64_t bytes() const { return file_.bytes(); }
  const GgufHeader& header() const { return header_; }
  std::uint64_t header_hash() const { return header_hash_; }  // the same on every rank that runs this build

  /// [rows, columns], rounded to fp32 once. Throws std::invalid_argument if there is none of that name and size (vectors: one row),
  /// or a value is not finite; std::runtime_error if the file is shorter than it was.
  std::vector<float> tensor(const std::string& name, std::int64_t rows, std::int64_t columns) const;

 private:
  RegularFile file_;
  GgufHeader header_;
  std::uint64_t header_hash_ = 0;
};

}  // namespace gyre::longbook
