// The header of NumPy's .npy files: what stands before the data. No files here, only bytes.
//
//   \x93NUMPY  major minor  length (2 bytes; 4 from version 2.0 on)  {'descr': '<f4', 'fortran_order': False, 'shape': (5, 2, 3), }
//
// Format: NumPy NEP 1. The text is a Python literal, padded with spaces so that the data begins at a multiple of 64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/stored_tensor.hpp"

namespace gyre {

struct NpyHeader {
  std::string descr;  // element type as NumPy writes it: "<f4"
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  bool operator==(const NpyHeader&) const = default;
};

/// Bytes before the length field ends: as many as must be read to know how long the header is.
inline constexpr std::size_t kNpyPrefixBytes = 12;

/// A header takes a hundred bytes; a longer one is a lie about the file, or an attempt on memory.
inline constexpr std::int64_t kNpyHeaderMost = std::int64_t{1} << 20;

/// Where the text of the header lies in the file, from the file's first bytes (kNpyPrefixBytes, fewer if the file is shorter).
struct NpyHeaderPlace {
  std::int64_t begin = 0;
  std::int64_t bytes = 0;
};
NpyHeaderPlace locate_npy_header(
    std::string_view first_bytes);  // throws std::invalid_argument: not .npy, unknown version, too long

/// The text of a header. Throws std::invalid_argument saying what is not understood.
NpyHeader parse_npy_header(std::string_view text);

/// Everything before the data of a tensor of f16, f32 or f64, version 1.0. Throws std::invalid_argument for bf16, which the format
/// lacks.
std::string npy_header(FileType type, std::span<const std::int64_t> shape);

}  // namespace gyre
