// The two products of attention for one head, block by block: what matrix libraries are given to do.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/kernels/data.hpp"
#include "bench/kernels/opponents.hpp"

namespace gyre::bench {

/// scores [queries, keys] = Q K^T of a block, then out [queries, dim] += weights [queries, keys] V of a block. Weights are numbers
/// of a block, the same for all: there is no softmax.
class Products : public Subject {
 public:
  Products(const Shape& shape, Block block);
  void prepare() override;
  void run() override;
  double error() override;  // of scores of the last block and of outputs, over 1e-5, for bf16 1e-2, of what addends come to
  double flops() const override;
  double bytes() const override;

 protected:
  /// Number `index` of the blocks of queries or of keys; the last may be shorter.
  struct Part {
    std::int64_t index, first, count;
  };
  virtual void multiply_keys(Part queries, Part keys) = 0;    // sets scores()
  virtual void multiply_values(Part queries, Part keys) = 0;  // adds to out()

  const Shape& shape() const { return shape_; }
  Block block() const { return block_; }
  std::int64_t tokens() const { return shape_.keys; }
  const float* queries() const { return queries_.rows().data; }  // [tokens, dim]
  const float* keys() const { return keys_.rows().data; }
  const float* values() const { return values_.rows().data; }
  const float* weights() const { return weights_.rows().data; }  // [block.queries, block.keys]
  float* scores() { return scores_.data(); }                     // [block.queries, block.keys]
  float* out() { return out_.data(); }                           // [tokens, dim]

 private:
  Part part(std::int64_t index, std::int64_t block_tokens) const;
  static std::int64_t parts(std::int64_t tokens, std::int64_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

  Shape shape_;
  Block block_;
  RandomRows queries_, keys_, values_, weights_;
  std::vector<float> scores_, out_;
};

}  // namespace gyre::bench
