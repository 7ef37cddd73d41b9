// The model's sizes, and where each of its tensors lies.
//
// A transformer of the present kind: for every layer
//
//   x += W_o attention(rotate(W_q n), rotate(W_k n), W_v n)     n = rms_norm(x), queries in groups over key/value heads
//   x += W_down (silu(W_gate m) * W_up m)                        m = rms_norm(x)
//
// from x = embedding[token] to logits = W_out rms_norm(x).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gyre::trainer {

struct ModelShape {
  int layers = 4;
  int width = 256;
  int query_heads = 8;
  int key_heads = 2;
  int head_dim = 32;
  int hidden = 512;  // of the feed-forward
  int vocabulary = 256;
  double rotary_base = 10000;
  double norm_epsilon = 1e-5;

  int query_width() const { return query_heads * head_dim; }
  int key_width() const { return key_heads * head_dim; }
  /// Throws std::invalid_argument naming value and limit.
  void validate() const;
};

/// [rows, columns] from `offset` on, in one array that holds all of them. Vectors have one row.
struct TensorPlace {
  std::string name;
  std::int64_t rows = 0, columns = 0, offset = 0;
  std::int64_t size() const { return rows * columns; }
};

/// Parameters are one array, and so are their gradients: what reduces, updates and saves them needs no names.
class ParameterLayout {
 public:
  explicit ParameterLayout(const ModelShape& shape);

  /// Offsets. Matrices are [outputs, inputs].
  struct Layer {
    std::int64_t attention_gain, query, key, value, output, feed_gain, gate, up, down;
  };
  std::int64_t embedding = 0, final_gain = 0, logits = 0;
  std::vector<Layer> layers;

  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  std::int64_t size() const { return size_; }

 private:
  std::int64_t add(std::string name, std::int64_t rows, std::int64_t columns);

  std::vector<TensorPlace> tensors_;
  std::int64_t size_ = 0;
};

/// Gains are 1, everything else is normal: 0.02, and 0.02 / sqrt(2 layers) where it writes to the residual stream (GPT-2). The same
/// seed gives the same bits on every rank.
template <class Real>
std::vector<Real> initial_parameters(const ModelShape& shape, const ParameterLayout& layout, std::uint64_t seed);

}  // namespace gyre::trainer
