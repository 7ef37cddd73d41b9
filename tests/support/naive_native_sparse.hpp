// Native sparse attention by its definition, in float64: every pair of every branch, nothing of the library but what its cells
// hold.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/mechanism/native_sparse.hpp"
#include "support/problems.hpp"

namespace gyre::test {

/// All ranks' inputs beside queries, keys and values; the gates of the three branches are in their order.
struct NativeInputs {
  Tensors tensors;
  std::vector<float> gates;                               // [tokens, query heads, 3]
  std::vector<float> compressed_keys, compressed_values;  // [blocks, key heads, dim], of Compression::given
  std::vector<float> grad_out;                            // [tokens, query heads, value dim]
};
NativeInputs random_native_inputs(const Problem& problem, const NativeSparse& sparse, std::uint64_t seed);
std::int64_t compressed_count(const NativeSparse& sparse, std::int64_t tokens);

struct NativeResult {
  std::vector<double> out;
  std::vector<double> queries, keys, values, gates, compressed_keys, compressed_values;  // gradients of sum(grad_out * out)
};

/// Inputs as cells hold them, in float64.
class NaiveNativeSparse {
 public:
  NaiveNativeSparse(const Problem& problem, const NativeSparse& sparse, const NativeInputs& inputs);

  using Selected = std::function<bool(std::int64_t query, std::int64_t block, int head)>;
  /// Each query's scores of the blocks up to its own, for the group of a head.
  std::vector<double> block_scores(std::int64_t query, int head) const;
  NativeResult run(const Selected& selected) const;
  /// Alone.
  std::vector<double> out(const Selected& selected) const;

  std::vector<double> queries, keys, values, gates, compressed_keys, compressed_values, grad_out;  // to be changed at will
  void compress();  // anew, after keys or values changed

 private:
  struct Row;
  template <class Visit>
  void each_branch(const Selected& selected, std::int64_t query, int head, Visit&& visit) const;
  void turn_back(std::vector<double>& gradient, int heads) const;

  Problem problem_;
  NativeSparse sparse_;
  std::int64_t blocks_;
};

}  // namespace gyre::test
