#include "bench/kernels/data.hpp"

#include <new>
#include <random>

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

void Cells::Free::operator()(std::byte* data) const {
  ::operator delete[](data, std::align_val_t{kAlignment});
}

std::byte* Cells::add(std::int64_t bytes) {
  bytes_ += bytes;
  return list_.emplace_back(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kAlignment}))).get();
}

}  // namespace gyre::bench
