// Products of query rows with panels of keys: lanes are keys, a row's dims are broadcast.
//
// A block is Rows x 16 products. Per dim it takes one multiply-add for each vector of products, one load of the panel's vectors and
// a broadcast a row. Two pipes of latency 4 want 8 sums, which 8 rows give AVX-512 (one vector each) and 4 rows AVX2 (two).
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/products.hpp"

namespace gyre {
namespace {

template <class V, int Rows>
GYRE_INLINE void products_of_rows(const Products& work, int row, std::int64_t panel) {
  constexpr int kVectors = kStrip / V::kLanes;
  typename V::Vector sum[Rows][kVectors];
  GYRE_UNROLL for (int r = 0; r < Rows; ++r) {
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = V::zero();
  }
  const float* const query = work.queries + static_cast<std::int64_t>(row) * work.dims;
  const float* const key = work.keys + panel * work.dims * kStrip;
  for (int dim = 0; dim < work.dims; ++dim) {
    typename V::Vector keys[kVectors];
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) keys[v] = V::load(key + dim * kStrip + v * V::kLanes);
    GYRE_UNROLL for (int r = 0; r < Rows; ++r) {
      const typename V::Vector channel = V::set1(query[static_cast<std::int64_t>(r) * work.dims + dim]);
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) V::add_product(channel, keys[v], sum[r][v]);
    }
  }
  GYRE_UNROLL for (int r = 0; r < Rows; ++r) {
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v)
        V::store(work.products + (row + r) * work.stride + panel * kStrip + v * V::kLanes, sum[r][v]);
  }
}

template <class V>
void products(const Products& work) {
  constexpr int kRows = V::kLanes == 16 ? 8 : V::kLanes == 8 ? 4 : 2;
  for (std::int64_t panel = 0; panel < work.panels; ++panel) {
    int row = 0;
    for (; row + kRows <= work.rows; row += kRows) products_of_rows<V, kRows>(work, row, panel);
    for (; row < work.rows; ++row) products_of_rows<V, 1>(work, row, panel);
  }
}

}  // namespace
}  // namespace gyre
