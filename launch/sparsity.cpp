#include "launch/sparsity.hpp"

#include <chrono>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "comm/while_alive.hpp"
#include "runtime/instruction_set.hpp"

namespace gyre {

Sparsity choose_mask(Transport& transport, const Inputs& inputs, const RunRequest& request,
                     const std::vector<SparseChoice>& choices, int threads, Problem& problem) {
  together(transport, [&] { require_choices(problem, choices); });
  const KernelTable& kernels = agree_on_kernels(transport, request.options.isa);
  Sparsity sparsity;
  sparsity.choice = request.sparse, sparsity.whole = problem.mask;
  Team team(threads);
  LoadedRows queries, keys;
  const auto rank = static_cast<std::size_t>(transport.rank());
  const RowMap query_rows = rows_for_estimate(problem.query_tokens, transport.ranks());
  const RowMap key_rows = rows_for_estimate(problem.key_tokens, transport.ranks());
  transport.heartbeat().set_stage({"reading"});
  together(transport, [&] {
    while_alive(transport, [&] {
      queries = inputs.read(Tensor::query, query_rows[rank], problem.type, team);
      keys = inputs.read(Tensor::key, key_rows[rank], problem.type, team);
    });
  });
  transport.heartbeat().set_stage({"estimating"});
  transport.barrier();
  const auto begin = std::chrono::steady_clock::now();
  problem.mask = estimate_mask(
      transport, team, kernels, problem,
      {.queries = queries.rows, .keys = keys.rows, .query_rows = query_rows[rank], .key_rows = key_rows[rank]}, choices);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  sparsity.estimate_seconds = maximum_over_ranks(transport, seconds.count());
  return sparsity;
}

}  // namespace gyre
