// What a run tells at its end: a page for a person, JSON for a program.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launch/check.hpp"
#include "launch/check_gradients.hpp"
#include "launch/measure.hpp"
#include "launch/sparsity.hpp"
#include "runtime/attention.hpp"

namespace gyre {

struct Report {
  Problem problem;
  std::string strategy, partition, isa;
  std::string why;       // the strategy was chosen; empty where it was given
  std::string unshared;  // why ranks of a node do not read each other's memory; empty if they do
  int ranks = 1, nodes = 1;
  int threads = 1;  // of all ranks together
  Measurement measured;
  std::optional<std::string> replay;  // nothing was computed: the machine as on which ranks slept
  struct Predicted {
    std::string machine;
    double seconds = 0;    // by simulation of the same programs
    std::string left_out;  // why there is no prediction; empty if there is one
  };
  std::optional<Predicted> predicted;  // of runs that are traced or replayed
  double peak_flops = 0;               // FLOP/s of all ranks together
  double visible_pairs = 0;            // summed over query heads
  std::uint64_t arriving_bytes = 0;    // that come to all ranks in a call, sent or borrowed
  std::uint64_t dense_bytes = 0;       // that would if every query saw every key
  std::int64_t arena_bytes = 0;        // of the rank with most
  std::int64_t scratch_bytes = 0;      // of the rank with most
  std::int64_t peak_memory_bytes = 0;  // of the process with most
  std::optional<CheckResult> check;
  std::optional<Sparsity> sparsity;  // problem.mask is what was chosen

  struct Gradients {
    std::string travels;               // keys or queries
    Measurement measured;              // of backward calls
    std::uint64_t arriving_bytes = 0;  // that come to all ranks in one
  };
  std::optional<Gradients> gradients;
  std::optional<GradientCheck> gradient_check;

  /// 2 x visible pairs of all query heads x (head dim + value dim): a multiplication and an addition each for Q K^T and P V.
  double flops() const;
  /// 2 x visible pairs x (3 head dim + 2 value dim): Q K^T again, dO V^T, and the products of dQ, dK and dV.
  double backward_flops() const;
  double gflops_per_rank() const;
  double tokens_per_second() const;  // queries
  double peak_fraction() const;
  /// Of the pairs of the mask that was chosen from; 1 where nothing was.
  double kept_share() const;
};

std::string to_text(const Report& report);
std::string to_json(const Report& report);

}  // namespace gyre
