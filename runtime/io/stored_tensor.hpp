// A tensor as a file stores it: what its bytes are and where they lie. File formats describe tensors in these words; whoever reads
// or writes data needs no others.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gyre {

/// Element types that files have, little endian. `other`: one that Gyre never reads (complex, object, float8).
enum class FileType : std::uint8_t { boolean, u8, i8, u16, i16, u32, i32, u64, i64, f16, bf16, f32, f64, other };

struct StoredTensor {
  FileType type = FileType::other;
  std::string type_name;            // as the format writes it: "<f4", "BF16"
  std::vector<std::int64_t> shape;  // C order
  std::int64_t begin = 0;           // of its data, bytes from the start of the file
};

/// 0 for `other`.
std::int64_t element_bytes(FileType type);
/// As `--out-dtype` says it: "f16".
std::string to_string(FileType type);

/// Bytes of the data. Throws std::invalid_argument unless that, and each stride, is a number of 63 bits.
std::int64_t data_bytes(std::span<const std::int64_t> shape, std::int64_t element_bytes);
std::string type_text(const StoredTensor& tensor);            // "'<f4'", "'>i8' (big endian)"
std::string shape_text(std::span<const std::int64_t> shape);  // "[5, 2, 3]", of many the first

/// For messages: a name from a file in one short line, whatever bytes it has.
std::string excerpt(std::string_view name);

}  // namespace gyre
