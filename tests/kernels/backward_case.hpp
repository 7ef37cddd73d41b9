// The backward pass on one rank: an AttendCase with a gradient of its output, and cells for what comes of it.
#pragma once

#include <vector>

#include "kernels/attend_backward.hpp"
#include "kernels/attend_case.hpp"

namespace gyre::testing {

/// Rows in fp32: [query tokens, query heads, head_dim], [key tokens, key heads, head_dim], [key tokens, key heads, value_dim].
struct FinishedGradients {
  std::vector<float> query, key, value;
};

class BackwardCase {
 public:
  explicit BackwardCase(const CaseShape& shape) : BackwardCase(shape, shape.type) {}
  /// Rows of shape.type in cells of another.
  BackwardCase(const CaseShape& shape, Type cells, const Element& element = {});

  const AttendCase& forward() const { return forward_; }
  const CaseShape& shape() const { return forward_.shape(); }
  /// In float64; what the forward pass saved is taken from it.
  /// Whether weights and slopes meet rows in bf16.
  bool rounds(const KernelTable& kernels) const {
    return forward_.cells().type == Type::bf16 && kernels.gradients_pairs != nullptr;
  }
  const ReferenceGradients& reference(const KernelTable& kernels) const {
    return rounds(kernels) ? rounded_reference_ : reference_;
  }

  const std::vector<float>& grad_sinks() const { return grad_sinks_; }  // [query heads], from what was saved

  void clear();  // gradients
  AttendBackwardWork work(const std::vector<int>& query_units, const std::vector<int>& key_units) const;
  AttendBackwardWork work() const;  // everything
  void run(const KernelTable& kernels, int threads = 1) const;
  FinishedGradients finish() const;
  /// The floats of all gradient cells that belong to rows and channels, in a fixed order.
  std::vector<float> bits() const;

 private:
  const Buffer& cell(const std::vector<Buffer>& cells, int unit, int head) const { return cells[unit * shape().key_heads + head]; }

  AttendCase forward_;
  std::vector<float> grad_out_, grad_sinks_;
  ReferenceGradients reference_, rounded_reference_;
  std::vector<Buffer> grad_outs_, statistics_, grad_queries_, grad_key_values_;  // [unit][key/value head]
};

}  // namespace gyre::testing
