// Products of rows, many by many: what estimates of sparsity are made from (runtime/mechanism). No softmax, no mask, no
// accumulation.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cell.hpp"

namespace gyre {

/// Memory that the products kernel may read panels from and write products to: aligned to kAlignment, grown and never shrunk.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  AlignedFloats(AlignedFloats&&) noexcept = default;
  AlignedFloats(const AlignedFloats&) = delete;
  AlignedFloats& operator=(const AlignedFloats&) = delete;

  /// At least so many; what was there is lost where it grows. What is new is zero.
  float* resize(std::int64_t count);
  float* data() { return first_; }
  const float* data() const { return first_; }

 private:
  std::vector<float> storage_;
  float* first_ = nullptr;
};

/// products[row][16 panel + lane] = query row . key lane of that panel: a chain of fused multiply-adds from zero, dim by dim. Its
/// bits depend on the two rows alone, on every instruction set that has such ("portable" rounds twice).
struct Products {
  int rows = 0;                    // of queries
  int dims = 0;                    // of a row
  std::int64_t panels = 0;         // of kStrip keys each
  const float* queries = nullptr;  // [rows][dims]
  const float* keys = nullptr;     // [panels][dims][kStrip], aligned
  float* products = nullptr;       // [rows][stride], aligned
  std::int64_t stride = 0;         // at least panels x kStrip, a multiple of kStrip
};

constexpr std::int64_t panels_of(std::int64_t keys) {
  return (keys + kStrip - 1) / kStrip;
}

/// One panel of `count` keys (at most kStrip; zeros for the others): keys: [count][dims], a key `stride` floats behind the one
/// before.
void pack_panel(const float* keys, std::int64_t stride, int count, int dims, float* panel);

}  // namespace gyre
