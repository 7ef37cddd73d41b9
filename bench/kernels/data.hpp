// Random rows and the memory of cells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cell.hpp"
#include "kernels/pages.hpp"
#include "kernels/tensor.hpp"

namespace gyre::bench {

/// [tokens, heads, dim] of normal numbers of size 1, rounded to what cells of that type hold.
class RandomRows {
 public:
  RandomRows(std::int64_t tokens, int heads, int dim, Type type, std::uint64_t seed);
  Rows<const float> rows() const { return Rows<const float>(data_.data(), tokens_, heads_, dim_); }

 private:
  std::int64_t tokens_;
  int heads_, dim_;
  std::vector<float> data_;
};

/// Aligned memory that lives as long as this, one cell behind the other as in an arena.
class Cells {
 public:
  std::byte* add(std::int64_t bytes);
  std::int64_t bytes() const { return bytes_; }  // of all so far

 private:
  std::vector<CellMemory> pieces_;
  std::byte* next_ = nullptr;
  std::int64_t left_ = 0;  // bytes of the last piece, from next_ on
  std::int64_t bytes_ = 0;
};

}  // namespace gyre::bench
