// A causal self-attention whose heads choose pairs, by estimators on ranks and by their definitions in float64.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/mechanism/estimate.hpp"
#include "runtime/mechanism/estimator.hpp"
#include "runtime/mechanism/recall.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

namespace gyre::test {

struct SparseCase {
  Problem problem;
  Tensors tensors;

  SparseCase(std::int64_t tokens, int heads, int key_heads, int dim, std::uint64_t seed) {
    problem.query_tokens = problem.key_tokens = tokens;
    problem.query_heads = heads, problem.key_heads = key_heads;
    problem.head_dim = problem.value_dim = dim;
    problem.mask = Mask::causal();
    tensors = random_tensors(problem, seed, 1.5);
  }
  std::int64_t tokens() const { return problem.key_tokens; }
  const float* query(std::int64_t token, int head) const {
    return tensors.queries.data() + (token * problem.query_heads + head) * problem.head_dim;
  }
  /// Of the key head that a query head reads.
  const float* key(std::int64_t token, int head) const {
    return tensors.keys.data() + (token * problem.key_heads + head / problem.group()) * problem.head_dim;
  }
  /// Dot product in float64.
  double product(const float* a, const float* b) const {
    double sum = 0;
    for (int dim = 0; dim < problem.head_dim; ++dim) sum += double{a[dim]} * double{b[dim]};
    return sum;
  }
};

/// Placements that ranks may have: contiguous, in blocks of 128 folded, and scattered in runs of odd lengths with nothing on the
/// last of several ranks.
inline std::vector<RowMap> placements(std::int64_t tokens, int ranks) {
  RowMap contiguous, scattered(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) contiguous.push_back({{tokens * rank / ranks, tokens * (rank + 1) / ranks}});
  const int holders = std::max(1, ranks - 1);
  for (std::int64_t begin = 0, run = 0; begin < tokens; ++run) {
    const std::int64_t end = std::min(tokens, begin + 1 + 37 * (run % 5));
    scattered[static_cast<std::size_t>(run * 7 % holders)].push_back({begin, end});
    begin = end;
  }
  return {contiguous, rows_for_estimate(tokens, ranks), scattered};
}

/// What `step` gives on every rank of a loopback job, with the rows of a placement. Ranks' results have to be equal, or nothing is
/// returned.
template <class Result>
std::optional<Result> on_ranks(const SparseCase& job, int ranks, const RowMap& placement,
                               const std::function<Result(Transport&, Team&, const EstimateRows&)>& step) {
  std::vector<std::optional<Result>> results(static_cast<std::size_t>(ranks));
  run_loopback(ranks, [&](Transport& transport) {
    const Problem& p = job.problem;
    const auto rank = static_cast<std::size_t>(transport.rank());
    const std::span<const Range> rows = placement[rank];
    const auto width = [](int heads, int dim) { return static_cast<std::size_t>(heads) * dim; };
    const std::vector<float> queries = gather(job.tensors.queries, rows, width(p.query_heads, p.head_dim));
    const std::vector<float> keys = gather(job.tensors.keys, rows, width(p.key_heads, p.head_dim));
    Team team(1 + transport.rank() % 2);
    const std::int64_t count = count_of(rows);
    results[rank] = step(transport, team,
                         {.queries = {queries.data(), count, p.query_heads, p.head_dim},
                          .keys = {keys.data(), count, p.key_heads, p.head_dim},
                          .query_rows = rows,
                          .key_rows = rows});
  });
  for (const auto& result : results) {
    if (*result != *results[0]) return std::nullopt;
  }
  return results[0];
}

/// The table that an estimator makes on one rank.
template <class Table>
Table table_of(const SparseCase& job, const std::function<Table(const Estimator&)>& select) {
  std::optional<Table> table;
  on_ranks<int>(job, 1, {{{0, job.tokens()}}}, [&](Transport& transport, Team& team, const EstimateRows& rows) {
    const RowMap all{{{0, job.tokens()}}};
    table.emplace(select({.transport = transport,
                          .team = team,
                          .kernels = select_kernels(),
                          .problem = job.problem,
                          .queries = {rows.queries, all},
                          .keys = {rows.keys, all}}));
    return 0;
  });
  return std::move(*table);
}

/// What a mask says, in numbers: its bands and every word of its tables.
inline std::vector<std::uint64_t> contents(const Mask& mask) {
  std::vector<std::uint64_t> all;
  for (const Band& band : mask.bands().all()) {
    for (const std::int64_t number : {band.queries.begin, band.queries.end, band.keys.begin, band.keys.end, band.lower, band.upper})
      all.push_back(static_cast<std::uint64_t>(number));
  }
  for (const auto& table : mask.bands().tables()) all.insert(all.end(), table->words().begin(), table->words().end());
  return all;
}

/// That one rank chooses.
inline Mask mask_of(const SparseCase& job, const std::vector<SparseChoice>& choices) {
  Mask mask;
  on_ranks<int>(job, 1, {{{0, job.tokens()}}}, [&](Transport& transport, Team& team, const EstimateRows& rows) {
    mask = estimate_mask(transport, team, select_kernels(), job.problem, rows, choices);
    return 0;
  });
  return mask;
}

/// Checks that these choices are the same to the bit on 1 to 8 ranks, wherever rows lie.
inline void check_alike_on_ranks(const SparseCase& job, const std::vector<SparseChoice>& choices) {
  const std::vector<std::uint64_t> expected = contents(mask_of(job, choices));
  for (const int ranks : {1, 2, 3, 4, 5, 8}) {
    for (const RowMap& placement : placements(job.tokens(), ranks)) {
      const auto found = on_ranks<std::vector<std::uint64_t>>(
          job, ranks, placement, [&](Transport& transport, Team& team, const EstimateRows& rows) {
            return contents(estimate_mask(transport, team, select_kernels(), job.problem, rows, choices));
          });
      INFO(ranks << " ranks");
      CHECK((found && *found == expected));
    }
  }
}

/// Checks what measure_recall finds of these rows, every head's, on 1 and 3 ranks.
inline void check_recall(const SparseCase& job, const Mask& kept, std::span<const std::int64_t> sample, double mean, double least,
                         double tolerance) {
  for (const int ranks : {1, 3}) {
    for (const RowMap& placement : placements(job.tokens(), ranks)) {
      const auto recall =
          on_ranks<std::vector<double>>(job, ranks, placement, [&](Transport& transport, Team& team, const EstimateRows& rows) {
            const Recall found = measure_recall(transport, team, select_kernels(), job.problem, kept, rows, sample);
            return std::vector<double>{static_cast<double>(found.rows), found.mean, found.least};
          });
      REQUIRE(recall);
      CHECK((*recall)[0] == static_cast<double>(std::ssize(sample) * job.problem.query_heads));
      CHECK((*recall)[1] == Approx(mean).epsilon(tolerance));
      CHECK((*recall)[2] == Approx(least).epsilon(tolerance));
    }
  }
}

/// Whether columns of a row are the `wanted` ones of greatest score, but for scores that are closer than rounding: none that is
/// left out is better than one that is taken by more than `tolerance`. Forced ones are taken, and count.
inline bool takes_greatest(const BlockTable& table, int head, std::int64_t row, const std::vector<double>& scores,
                           std::int64_t wanted, double tolerance, const std::set<std::int64_t>& forced = {}) {
  double least_taken = HUGE_VAL, greatest_left = -HUGE_VAL;
  std::int64_t taken = 0;
  for (std::int64_t column = 0; column < table.shape().columns; ++column) {
    const bool visible = table.visible(head, row, column);
    taken += visible;
    if (column >= std::ssize(scores) && visible) return false;
    if (column >= std::ssize(scores)) continue;
    if (forced.contains(column) && !visible) return false;
    if (forced.contains(column)) continue;
    if (visible) least_taken = std::min(least_taken, scores[static_cast<std::size_t>(column)]);
    if (!visible) greatest_left = std::max(greatest_left, scores[static_cast<std::size_t>(column)]);
  }
  return taken == std::min<std::int64_t>(wanted, std::ssize(scores)) && greatest_left <= least_taken + tolerance;
}

}  // namespace gyre::test
