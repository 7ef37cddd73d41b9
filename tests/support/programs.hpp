// Programs of all ranks, and small jobs to make them of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/verify.hpp"

namespace gyre::test {

inline std::vector<Program> programs_of(const Layout& layout, const Schedule& schedule) {
  std::vector<Program> programs;
  for (int rank = 0; rank < layout.ranks; ++rank) programs.push_back(schedule(rank));
  return programs;
}

inline std::vector<Program> programs_of(const Layout& layout, StrategyChoice strategy) {
  return programs_of(layout, make_schedule(strategy, layout, {}));
}

/// Ranks in nodes of some size.
inline std::vector<int> nodes_of(int ranks, int ranks_per_node) {
  std::vector<int> nodes;
  for (int rank = 0; rank < ranks; ++rank) nodes.push_back(rank / ranks_per_node);
  return nodes;
}

inline Problem self_attention(std::int64_t tokens, const char* mask = "full", int heads = 1, int dim = 8) {
  Problem problem;
  problem.query_tokens = problem.key_tokens = tokens;
  problem.query_heads = problem.key_heads = heads;
  problem.head_dim = problem.value_dim = dim;
  problem.mask = Mask::parse(mask);
  return problem;
}

inline std::string first_problem(const Verdict& verdict) {
  return verdict.problems.empty() ? "" : verdict.problems.front();
}

inline std::size_t count(const Program& program, Op op) {
  return std::count_if(program.instructions.begin(), program.instructions.end(), [&](const auto& i) { return i.op == op; });
}

}  // namespace gyre::test
