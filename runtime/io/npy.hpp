// NumPy's .npy files, read and written by shard: no rank ever holds more than its own rows.
// Format: NumPy NEP 1 (versions 1.0, 2.0 and 3.0), C order, little endian.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/tensor.hpp"
#include "partition/units.hpp"

namespace gyre {

/// Element types that files may have. Everything is converted to float32 on reading.
enum class FileType : std::uint8_t { f16, f32, f64 };

/// An open tensor file of shape [tokens, heads, dim] (or [tokens, heads]: dim 1).
class NpyReader {
 public:
  /// Local. Throws std::invalid_argument naming the file and what is wrong with it: missing, not .npy, Fortran order, big endian,
  /// an element type or rank that is not supported, a header that lies about the file's size.
  explicit NpyReader(const std::string& path);
  ~NpyReader();
  NpyReader(NpyReader&&) noexcept;

  FileType type() const;
  std::span<const std::int64_t> shape() const;  // 2 or 3 extents
  std::int64_t tokens() const;
  int heads() const;
  int dim() const;

  /// Reads token ranges one after the other into `out`, [sum of ranges, heads, dim]. Thread-safe. Throws std::runtime_error if the
  /// file is shorter than it was.
  void read(std::span<const Range> tokens, float* out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A float32 .npy of a given shape that ranks write together. It comes into being under its name only when it is whole.
class NpyWriter {
 public:
  /// Local. With `create` (one rank) a temporary file beside `path` is made at full size; the others open it after that. Throws
  /// std::invalid_argument if that cannot be done.
  NpyWriter(std::string path, std::vector<std::int64_t> shape, bool create);
  ~NpyWriter();  // the creator removes a file that was not published
  NpyWriter(NpyWriter&&) noexcept;

  /// Writes token ranges one after the other from `rows`, [sum of ranges, rest of shape].
  void write(std::span<const Range> tokens, const float* rows);
  /// On the creator, after every rank has written: gives the file its name.
  void publish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gyre
