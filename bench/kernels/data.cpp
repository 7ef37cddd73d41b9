#include "bench/kernels/data.hpp"

#include <algorithm>
#include <random>
#include <utility>

#include "kernels/convert.hpp"

namespace gyre::bench {
namespace {

float rounded(float x, Type type) {
  switch (type) {
    case Type::bf16:
      return to_float(to_bf16(x));
    case Type::f16:
      return to_float(to_f16(x));
    case Type::f32:
      break;
  }
  return x;
}

}  // namespace

RandomRows::RandomRows(std::int64_t tokens, int heads, int dim, Type type, std::uint64_t seed)
    : tokens_(tokens), heads_(heads), dim_(dim), data_(tokens * heads * dim) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 1);
  for (float& x : data_) x = rounded(normal(random), type);
}

std::byte* Cells::add(std::int64_t bytes) {
  constexpr std::int64_t kPiece = std::int64_t{32} << 20;
  if (bytes > left_) {
    left_ = std::max(bytes, kPiece);
    next_ = pieces_.emplace_back(allocate_cells(left_)).get();
  }
  bytes_ += bytes, left_ -= bytes;
  return std::exchange(next_, next_ + bytes);
}

}  // namespace gyre::bench
