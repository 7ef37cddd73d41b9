// Where queries, keys, values and the gradient of the output come from: one file, a file each, or a seed. A rank reads its own rows
// and no others.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "kernels/team.hpp"
#include "launch/run_request.hpp"
#include "launch/synthetic.hpp"
#include "runtime/io/tensor_reader.hpp"

namespace gyre {

/// Rows that a rank holds, [tokens, heads, dim], in the type that the kernels read.
struct LoadedRows {
  std::vector<std::byte> elements;
  TypedRows rows;  // of them
};

class Inputs {
 public:
  /// Local. Opens the files and reads their headers. Throws std::invalid_argument naming the file.
  explicit Inputs(const RunRequest& request);

  /// Of --sinks-logits, one for each query head; none without. Local.
  const std::vector<float>& sinks() const { return sinks_; }

  /// The problem that the shapes and the request make. Throws std::invalid_argument where shapes contradict each other.
  Problem problem(const RunRequest& request) const;

  /// Rows of one tensor for token ranges one after the other, rounded to `type` piece by piece. Local. Throws std::invalid_argument
  /// on a value that is not finite in that type, std::runtime_error if the file cannot be read.
  LoadedRows read(Tensor tensor, std::span<const Range> tokens, Type type, Team& team) const;

 private:
  struct Shape {
    std::int64_t tokens;
    int heads, dim;
  };
  Shape shape(Tensor tensor) const;
  const TensorReader* file(Tensor tensor) const;  // null if it is synthetic
  void require_grad_out() const;
  std::string name(Tensor tensor) const;
  void require_limits(Tensor tensor) const;
  void make_synthetic(Tensor tensor, std::span<const Range> tokens, Team& team, LoadedRows& into) const;

  std::optional<Synthetic> synthetic_;
  std::uint64_t seed_;
  bool one_file_ = false;            // of queries, keys and values
  std::vector<TensorReader> files_;  // by Tensor; none if synthetic, grad_out only where it is given
  std::optional<TensorReader> grad_out_;
  std::vector<float> sinks_;
};

}  // namespace gyre
