// The header of .safetensors files: what stands before the data. No files here, only bytes.
//
//   length (8 bytes)  {"q":{"dtype":"F32","shape":[5,2,3],"data_offsets":[0,120]}, ..., "__metadata__":{"any":"text"}}  data
//
// Format: the description in the repository of huggingface/safetensors, version 0.5. Little endian, C order; offsets count from the
// end of the header; tensors lie one after the other without holes and use all of the data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/stored_tensor.hpp"

namespace gyre {

struct SafetensorsEntry {
  std::string name;
  std::string type_name;            // "BF16"
  std::vector<std::int64_t> shape;  // extents of at least 0
  std::int64_t begin = 0, end = 0;  // bytes of the data
  bool operator==(const SafetensorsEntry&) const = default;
};

inline constexpr std::int64_t kSafetensorsPrefixBytes = 8;           // of the length
inline constexpr std::int64_t kSafetensorsHeaderMost = 100'000'000;  // the format's own limit

/// The header's length, from a file's first 8 bytes. Throws std::invalid_argument if it is over the limit.
std::int64_t safetensors_header_bytes(std::string_view first_bytes);

/// The tensors of a header, in the order of their data, which has `data_bytes`. Throws std::invalid_argument naming the tensor and
/// the lie: not JSON, nested deeper than a header, a key twice, missing or unknown, extents that are no numbers of 63 bits, offsets
/// that overlap, leave a hole, run out of the data, or disagree with shape and type (types that Gyre does not know have any size).
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view text, std::int64_t data_bytes);

/// "F32" and the like; `other` if it is a type that is never read.
FileType safetensors_type(std::string_view name);

/// Everything before the data of a file that holds one tensor of f16, bf16, f32 or f64; the data begins at a multiple of 64 bytes.
std::string safetensors_header(std::string_view name, FileType type, std::span<const std::int64_t> shape);

}  // namespace gyre
