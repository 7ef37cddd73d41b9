// Products of rows with panels of keys.
#include "kernels/products.hpp"

#include <cmath>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/dispatch.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

std::vector<float> normal(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, 1.5F);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = draw(random);
  return values;
}

/// One chain from zero; "portable" multiplies and adds in two roundings.
float chain(const float* a, const float* b, int dims, bool fused) {
  float sum = 0;
  for (int dim = 0; dim < dims; ++dim) sum = fused ? std::fma(a[dim], b[dim], sum) : sum + a[dim] * b[dim];
  return sum;
}

}  // namespace

TEST_CASE("every product has the bits of its own chain, on each instruction set, for any number of rows, dims and keys") {
  for (const auto [rows, dims, keys] : {std::array{1, 1, 1}, {7, 5, 17}, {8, 64, 32}, {23, 19, 50}, {64, 3, 16}, {12, 1024, 33}}) {
    const std::vector<float> queries = normal(rows * dims, 1), key_rows = normal(keys * dims, 2);
    AlignedFloats panels, products;
    float* const packed = panels.resize(panels_of(keys) * kStrip * dims);
    for (int first = 0; first < keys; first += kStrip)
      pack_panel(key_rows.data() + first * dims, dims, std::min(kStrip, keys - first), dims, packed + first * dims);
    const std::int64_t stride = panels_of(keys) * kStrip + kStrip;  // more than is written
    for (const KernelTable* kernels : available_kernels()) {
      float* const into = products.resize(rows * stride);
      std::fill_n(into, rows * stride, std::nanf(""));
      kernels->products({.rows = rows,
                         .dims = dims,
                         .panels = panels_of(keys),
                         .queries = queries.data(),
                         .keys = packed,
                         .products = into,
                         .stride = stride});
      const bool fused = std::string_view(kernels->name) != "portable";
      std::int64_t wrong = 0, written_beyond = 0;
      for (int row = 0; row < rows; ++row) {
        for (std::int64_t key = 0; key < stride; ++key) {
          const float got = into[row * stride + key];
          if (key >= panels_of(keys) * kStrip) written_beyond += !std::isnan(got);
          if (key < keys) wrong += got != chain(queries.data() + row * dims, key_rows.data() + key * dims, dims, fused);
          if (key >= keys && key < panels_of(keys) * kStrip) wrong += got != 0;
        }
      }
      INFO(kernels->name << ", " << rows << " rows, " << dims << " dims, " << keys << " keys");
      CHECK(wrong == 0);
      CHECK(written_beyond == 0);
    }
  }
}

TEST_CASE("a panel of fewer keys than lanes reads none beyond them and fills up with zeros") {
  std::vector<float> keys = normal(3 * 5, 3);
  std::vector<float> panel(5 * kStrip, std::nanf(""));
  pack_panel(keys.data(), 5, 3, 5, panel.data());
  for (int dim = 0; dim < 5; ++dim) {
    for (int lane = 0; lane < kStrip; ++lane) CHECK(panel[dim * kStrip + lane] == (lane < 3 ? keys[lane * 5 + dim] : 0.0F));
  }
}

}  // namespace gyre::testing
