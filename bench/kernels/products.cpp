#include "bench/kernels/products.hpp"

#include <algorithm>
#include <cmath>

namespace gyre::bench {

Products::Products(const Shape& shape, Block block)
    : shape_(shape),
      block_(block),
      queries_(shape.keys, 1, shape.head_dim, shape.type, 1),
      keys_(shape.keys, 1, shape.head_dim, shape.type, 2),
      values_(shape.keys, 1, shape.head_dim, shape.type, 3),
      weights_(block.queries, 1, static_cast<int>(block.keys), shape.type, 4),
      scores_(block.queries * block.keys),
      out_(shape.keys * shape.head_dim) {}

Products::Part Products::part(std::int64_t index, std::int64_t block_tokens) const {
  const std::int64_t first = index * block_tokens;
  return {index, first, std::min(block_tokens, tokens() - first)};
}

void Products::prepare() {
  std::fill(out_.begin(), out_.end(), 0.0F);
}

void Products::run() {
  for (std::int64_t i = 0; i < parts(tokens(), block_.queries); ++i) {
    for (std::int64_t j = 0; j < parts(tokens(), block_.keys); ++j) {
      multiply_keys(part(i, block_.queries), part(j, block_.keys));
      multiply_values(part(i, block_.queries), part(j, block_.keys));
    }
  }
}

double Products::error() {
  const double allowed = shape_.type == Type::bf16 ? 1e-2 : 1e-5;
  const Part query_part = part(parts(tokens(), block_.queries) - 1, block_.queries);
  const Part key_part = part(parts(tokens(), block_.keys) - 1, block_.keys);
  const int dim = shape_.head_dim;
  double worst = 0;
  const auto compare = [&](float found, double expected, double magnitude) {
    const double share = std::abs(found - expected) / (allowed * magnitude);
    if (!(share <= worst)) worst = share;
  };
  for (std::int64_t sample = 0; sample < 64; ++sample) {
    const std::int64_t row = sample * 7919 % query_part.count, column = sample * 104729 % key_part.count, c = sample * 31 % dim;
    double score = 0, score_magnitude = 0, out = 0, out_magnitude = 0;
    for (int d = 0; d < dim; ++d) {
      const double product =
          static_cast<double>(queries()[(query_part.first + row) * dim + d]) * keys()[(key_part.first + column) * dim + d];
      score += product, score_magnitude += std::abs(product);
    }
    for (std::int64_t key = 0; key < tokens(); ++key) {
      const double product = static_cast<double>(weights()[row * block_.keys + key % block_.keys]) * values()[key * dim + c];
      out += product, out_magnitude += std::abs(product);
    }
    compare(scores_[row * block_.keys + column], score, score_magnitude);
    compare(out_[(query_part.first + row) * dim + c], out, out_magnitude);
  }
  return worst;
}

double Products::flops() const {
  return 4.0 * static_cast<double>(tokens()) * static_cast<double>(tokens()) * shape_.head_dim;
}

double Products::bytes() const {
  return static_cast<double>(tokens()) * shape_.head_dim * (3.0 * static_cast<double>(type_bytes(shape_.type)) + 4);
}

}  // namespace gyre::bench
