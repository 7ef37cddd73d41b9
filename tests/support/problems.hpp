// Random problems, their tensors, and what the float64 reference says about them.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "runtime/attention.hpp"

namespace gyre::test {

using Random = std::mt19937_64;

/// Uniform in [least, most].
std::int64_t draw(Random& random, std::int64_t least, std::int64_t most);

/// A mask expression for a problem's tokens and heads: one to three primitives of every kind, combined. Tables and slices are
/// drawn_files().
std::string random_mask(Random& random, const Problem& problem);

/// A job small enough for the reference: odd lengths, fewer tokens than ranks, queries before the first key, any heads and dims.
struct Job {
  Problem problem;
  Options options;
  std::string text;  // for INFO
};
/// ranks: that layouts of the caller's own and groups of strategies may use; 0 for none of those.
Job random_job(Random& random, int ranks = 0);

/// Of any kind that goes with a head dim of 2 or more.
Rotary random_rotary(Random& random, int head_dim);
DualChunk random_dual_chunk(Random& random);

/// Any strategy, resolved; of those without groups if `ranks` is 0.
StrategyChoice random_strategy(Random& random, int ranks);

/// All ranks' rows. Values are normal with the given size.
struct Tensors {
  std::vector<float> queries, keys, values;  // [tokens, heads, dim]
  std::vector<float> sinks{};                // [query heads], where the problem has them
};
Tensors random_tensors(const Problem& problem, std::uint64_t seed, double size);

/// The tensors as cells of that type hold them.
Tensors rounded(const Tensors& tensors, Type type);
/// The tensors as cells of the problem hold them: turned by positions, if it has some, and rounded.
struct CellTensors : Tensors {
  std::vector<float> further[2];  // queries in the second and third form of dual chunk attention
};
CellTensors as_in_cells(const Problem& problem, const Tensors& tensors);

/// A rank's rows of a global tensor, one range after the other, of `width` elements each; and back.
std::vector<float> gather(const std::vector<float>& tensor, std::span<const Range> rows, std::size_t width);
void scatter(const std::vector<float>& local, std::span<const Range> rows, std::size_t width, std::vector<float>& tensor);

/// All ranks' results.
struct Result {
  std::vector<float> out;  // [query tokens, query heads, value dim]
  std::vector<float> lse;  // [query tokens, query heads]
  explicit Result(const Problem& problem);
  bool operator==(const Result& other) const;  // of bits
};

/// One rank's share of a job: its rows of the tensors, and room for its results.
class RankRows {
 public:
  RankRows(const Job& job, const Tensors& tensors, const Transport& transport);
  Operands operands() const;            // borrowed from this
  void write_to(Result& result) const;  // disjoint rows: ranks may share the result

 private:
  const Problem& problem_;
  std::vector<Range> query_ranges_;
  std::vector<float> queries_, keys_, values_, sinks_;
  mutable std::vector<float> out_, lse_;
};

/// Runs this rank's part and writes its rows into `result`, which ranks may share. Calls forward `calls` times.
void run_rank(Transport& transport, const Job& job, const Tensors& tensors, Result& result, int calls = 1);

/// Over loopback. ranks_per_node: 0 puts all on one.
Result run_loopback_job(const Job& job, const Tensors& tensors, int ranks, int ranks_per_node = 0);

/// Errors of some rows against the reference.
struct Errors {
  double out = 0;             // largest, relative to the largest output
  double lse = 0;             // largest
  double share_of_bound = 0;  // largest error over its own bound, outputs and log-sum-exp
};
/// Over the given token ranges of `result`, every `step`-th row. The reference reads the tensors as kernels do: as_in_cells.
Errors compare(const Problem& problem, const Tensors& tensors, const Result& result, std::span<const Range> rows,
               std::int64_t step = 1);
Errors compare(const Problem& problem, const Tensors& tensors, const Result& result, std::int64_t step = 1);

/// What Errors::out stays below for tensors of size 1.5. Kernels that multiply pairs of bf16 round weights to it: half a unit in
/// the last place is 3.9e-3 of a value, and values may be larger than any output, where each is a mean over keys of both signs (of
/// 5,000 random jobs one has 6.0e-3, with head dim 1). With ALiBi scores are as large as distances, here up to 200, and so are
/// their roundings: 1e-5 of a weight.
inline double largest_normal_error(const Problem& problem) {
  if (problem.type == Type::bf16) return 7e-3;
  return problem.bias == PositionBias::alibi ? 1e-5 : 2e-6;
}
/// Likewise of Errors::lse.
inline double largest_normal_lse_error(const Problem& problem) {
  return problem.bias == PositionBias::alibi ? 3e-5 : 1e-5;
}

}  // namespace gyre::test
