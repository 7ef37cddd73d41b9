// One job of the benchmark: random tensors of a whole sequence, dense causal attention and native sparse attention over ranks of
// this process, in turns, and the error of some rows.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/mechanism/native_attention.hpp"

namespace gyre::bench {

struct NativeJob {
  Problem problem;
  NativeSparse sparse;
  Options options;
  int ranks = 1, rounds = 3, rows = 4;  // rows: that are checked
  /// What the processor spent on a rank's thread in place of the time that went by: for machines that others use.
  bool thread_clock = false;
  /// Tokens whose queries are much the same, as neighbours' are in a text: three quarters of each one's size is theirs together. 1:
  /// no two are alike, so that rows which kernels take together select different blocks.
  std::int64_t alike_tokens = 1;
};

/// Seconds of calls, of the slowest rank.
struct NativeSeconds {
  double dense = 0, native = 0;  // by the job's clock
  NativeSparseTime parts;        // by the wall's; each of its slowest rank
};

struct NativeFigures {
  std::vector<NativeSeconds> forward, backward;  // [rounds]
  std::array<double, kNativeBranches> pairs{};   // that branches see, over those of causal attention
  double error = 0;                              // of outputs of some rows, over the largest output
};

NativeFigures measure(const NativeJob& job);

}  // namespace gyre::bench
