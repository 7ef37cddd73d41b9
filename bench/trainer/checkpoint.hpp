// What a step began with and what came of it, in a .safetensors file: other programs compare themselves with it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/trainer/model_shape.hpp"
#include "bench/trainer/text.hpp"

namespace gyre::trainer {

/// In the file: every parameter under its name and its gradient under "gradient." and its name, float32 [rows, columns] or
/// [columns]; "tokens" and "targets", int32 [tokens]; "documents", int64 [documents]; as metadata "step" and "loss" (of the step, a
/// target's mean).
struct Checkpoint {
  int step = 0;
  double loss = 0;
  std::vector<float> parameters, gradients;
  PackedSequence sequence;
};

/// Throws std::runtime_error if the file cannot be written.
void write_checkpoint(const std::string& path, const ParameterLayout& layout, const Checkpoint& checkpoint);

/// Throws std::invalid_argument if the file cannot be read or is of a model of another shape.
Checkpoint read_checkpoint(const std::string& path, const ParameterLayout& layout);

/// How far a tensor's gradient is from the checkpoint's: the largest difference over the checkpoint's largest element.
struct Difference {
  std::string tensor;
  double largest = 0;  // 0 where both are 0 throughout; infinity where only the checkpoint is, or something is not finite
};
/// In the order of the layout.
std::vector<Difference> differences(const ParameterLayout& layout, std::span<const float> gradients, const Checkpoint& checkpoint);

}  // namespace gyre::trainer
