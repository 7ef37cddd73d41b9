// Gradients of random problems, and what the float64 reference says about them.
#pragma once

#include <cstdint>
#include <vector>

#include "support/problems.hpp"

namespace gyre::test {

/// A random_job() of which gradients can be asked for: any strategy that gives them, either way of travel.
Job random_gradient_job(Random& random, int ranks);

/// All ranks' gradients.
struct Gradients {
  std::vector<float> queries, keys, values;  // [tokens, heads, dim], as the tensors
  std::vector<float> sinks;                  // [query heads], from rank 0, where the problem has them: all have the same
  explicit Gradients(const Problem& problem);
  bool operator==(const Gradients& other) const;  // of bits
};

/// Of the output: [query tokens, query heads, value_dim].
std::vector<float> random_grad_out(const Problem& problem, std::uint64_t seed, double size);

/// One rank's share of a job, with room for its results and its gradients.
class GradientRows {
 public:
  GradientRows(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, const Transport& transport);
  Operands forward() const { return rows_.operands(); }  // borrowed from this
  GradientOperands backward() const;                     // likewise, with what forward gave
  void write_to(Gradients& gradients) const;             // disjoint rows: ranks may share them
  void forget() const;                                   // what gradients there are

 private:
  const Problem& problem_;
  RankRows rows_;
  std::vector<Range> query_ranges_, key_ranges_;
  std::vector<float> grad_out_;
  mutable std::vector<float> queries_, keys_, values_, sinks_;
  bool writes_sinks_;  // rank 0 does
};

/// Runs this rank's part, forward and then backward, `calls` times, and writes its rows into `gradients`, which ranks may share.
void run_rank(Transport& transport, const Job& job, const Tensors& tensors, const std::vector<float>& grad_out,
              Gradients& gradients, int calls = 1);

/// Errors of gradients against the reference.
struct GradientErrors {
  double share_of_bound = 0;  // largest error over its own bound
  double relative = 0;        // largest error of a gradient over its largest element; rounding alone, where rows see one key
};
/// Over these token ranges. The reference reads the tensors as kernels do, rounded to problem.type.
GradientErrors compare(const Problem& problem, const Tensors& tensors, const std::vector<float>& grad_out,
                       const Gradients& gradients, std::span<const Range> queries, std::span<const Range> keys);
GradientErrors compare(const Problem& problem, const Tensors& tensors, const std::vector<float>& grad_out,
                       const Gradients& gradients);

}  // namespace gyre::test
