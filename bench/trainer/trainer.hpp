// Training, sequence-parallel: a rank computes the rows of each packed sequence that Gyre gives it, and holds all parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/trainer/adamw.hpp"
#include "bench/trainer/checkpoint.hpp"
#include "bench/trainer/model.hpp"
#include "bench/trainer/text.hpp"
#include "comm/transport.hpp"
#include "runtime/problem.hpp"

namespace gyre::trainer {

struct Settings {
  ModelShape model;
  AdamWOptions optimizer;
  Options attention;
  std::int64_t tokens = 2048;  // of a sequence, all ranks together; one sequence is a batch
  std::uint64_t seed = 1;      // of the initial parameters
};

/// Where a step's time went, on this rank.
struct StepSeconds {
  double total = 0;
  double preparing = 0;              // Attention for this step's documents
  double forward = 0, backward = 0;  // of attention
  double reducing = 0;               // gradients over the ranks
};

struct StepResult {
  double loss = 0;  // a target's mean, of all ranks
  StepSeconds seconds;
};

/// All calls are collective over the transport.
class Trainer {
 public:
  Trainer(Transport& transport, const Settings& settings);

  /// Loss and gradients of a sequence, the same bits on every rank; parameters stay as they are.
  StepResult compute_gradients(const PackedSequence& sequence);
  /// From the gradients of the last sequence. The first step is 1.
  void update(int step) { optimizer_.update(step, gradients_, parameters_); }

  const ParameterLayout& layout() const { return model_.layout(); }
  std::vector<float>& parameters() { return parameters_; }
  const std::vector<float>& gradients() const { return gradients_; }

 private:
  Transport& transport_;
  Settings settings_;
  Model<float> model_;
  std::vector<float> parameters_, gradients_;
  AdamW optimizer_;
};

}  // namespace gyre::trainer
