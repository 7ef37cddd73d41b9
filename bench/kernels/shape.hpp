// The shapes that are timed: what a pass computes, and how it is called.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/tensor.hpp"

namespace gyre::bench {

/// Decode is forward with few queries, bound by reading keys and values instead of multiplying.
enum class Pass : std::uint8_t { forward, backward, decode };
std::string to_string(Pass pass);
Pass parse_pass(const std::string& text);  // throws std::invalid_argument naming the three

struct Shape {
  Pass pass = Pass::forward;
  Type type = Type::f32;
  std::string mask = "full";  // an expression; queries stand at the end of the keys
  std::string mask_name{};    // in the benchmark's name; empty: the expression
  std::int64_t keys = 4096;
  std::int64_t queries = 0;  // 0: as many as keys
  int head_dim = 64;
  int value_dim = 0;  // 0: as many as the head dim
  int group = 1;      // query heads per key/value head
  int heads = 1;      // key/value heads
  int threads = 1;
  double softcap = 0;            // 0: none
  bool alibi = false;            // its slopes
  double dropout = 0;            // probability
  std::int64_t unit_tokens = 0;  // 0: the default rule
  int strips = 0;                // per block; 0: the kernel's own
  bool token_order = false;      // of rows in cells, whatever suits the mask
  std::string isa{};             // empty: the best there is

  std::int64_t query_tokens() const { return queries > 0 ? queries : keys; }
  std::int64_t first_query() const { return keys - query_tokens(); }
  int value_dims() const { return value_dim > 0 ? value_dim : head_dim; }
  int query_heads() const { return heads * group; }
};

/// forward/f32/causal/d=64/n=512/heads=8: what is not the default says so.
std::string name_of(const Shape& shape);

/// Throws std::invalid_argument naming what is out of its range.
void require_valid(const Shape& shape);

}  // namespace gyre::bench
