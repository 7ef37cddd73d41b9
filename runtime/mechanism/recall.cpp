#include "runtime/mechanism/recall.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <vector>

#include "comm/while_alive.hpp"
#include "kernels/reference.hpp"

namespace gyre {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

/// Log-sum-exps of one query row over some keys.
struct Sums {
  double all = kNothing, kept = kNothing;
};

double joined(double a, double b) {
  const double most = std::max(a, b);
  return most == kNothing ? kNothing : most + std::log(std::exp(a - most) + std::exp(b - most));
}

/// Over this rank's keys. Values do not matter, and one channel of the keys does for them. forms: of the query.
Sums over_own_keys(const Problem& problem, const Bands& all, const Bands& kept, const EstimateRows& rows,
                   std::span<const float* const> forms, std::int64_t position, int head) {
  Sums sums;
  const int key_head = head / problem.group();
  const std::int64_t chunk_tokens = problem.dual_chunk ? problem.dual_chunk->length() : 0;
  const ScoreRule rule = problem.score_rule();
  std::int64_t first = 0;
  for (const Range range : rows.key_rows) {
    TypedRows keys(rows.keys.row(first, 0), rows.keys.type, range.size(), rows.keys.heads, rows.keys.dim);
    keys.token_stride = rows.keys.token_stride, keys.head_stride = rows.keys.head_stride;
    TypedRows values = keys;
    values.dim = 1;
    const auto lse = [&](const Bands& bands) {
      return reference_partial(forms, chunk_tokens, position, keys, values, key_head, range.begin, rule, bands, head).lse();
    };
    sums = {joined(sums.all, lse(all)), joined(sums.kept, lse(kept))};
    first += range.size();
  }
  return sums;
}

/// Where queries stand for the keys that see this form of them: clamped, as attention has it.
Standing standing_of(const Problem& problem, int form) {
  const std::int64_t first = problem.first_query_position();
  if (!problem.dual_chunk) return {.first = first};
  const Stretch of_chunk = problem.dual_chunk->queries(0)[static_cast<std::size_t>(form)];  // from a chunk's first token on
  return {.first = first, .chunk = problem.dual_chunk->length(), .shift = of_chunk.first, .last = of_chunk.last};
}

}  // namespace

Recall measure_recall(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem, const Mask& kept,
                      const EstimateRows& rows, std::span<const std::int64_t> tokens) {
  std::vector<Range> sample;
  for (const std::int64_t token : tokens) sample.push_back({token, token + 1});
  const std::int64_t offset = problem.first_query_position();
  std::optional<RotaryTable> table;
  if (problem.rotary) table.emplace(*problem.rotary, problem.head_dim, kernels);
  const RotaryTable* const rotary = table ? &*table : nullptr;
  RowsOnRanks queries{rows.queries, gather_row_map(transport, rows.query_rows), rotary};
  const RowMap everyone(static_cast<std::size_t>(transport.ranks()), sample);
  std::vector<std::vector<float>> asked;  // by form
  for (int form = 0; form < problem.query_forms(); ++form) {
    queries.standing = standing_of(problem, form);
    asked.push_back(fetch_rows(transport, queries, {0, problem.query_heads}, problem.type, everyone));
  }
  EstimateRows turned = rows;
  std::vector<float> keys;
  if (rotary != nullptr) {
    const Standing standing{.chunk = problem.dual_chunk ? problem.dual_chunk->length() : 0};
    const RowsOnRanks own{rows.keys, gather_row_map(transport, rows.key_rows), rotary, standing};
    keys = fetch_rows(transport, own, {0, problem.key_heads}, problem.type, own.held);
    turned.keys = {keys.data(), count_of(rows.key_rows), problem.key_heads, problem.head_dim};
  }
  Problem chosen = problem;
  chosen.mask = kept;
  const Bands all_bands = problem.bands(), kept_bands = chosen.bands();
  const std::size_t count = tokens.size() * static_cast<std::size_t>(problem.query_heads);
  std::vector<Sums> mine(count), ranks(count * static_cast<std::size_t>(transport.ranks()));
  while_alive(transport, [&] {
    const auto one = [&](int task, int) {
      const int head = task % problem.query_heads;
      const std::int64_t position = tokens[static_cast<std::size_t>(task / problem.query_heads)] + offset;
      std::array<const float*, kMostForms> forms{};
      for (std::size_t form = 0; form < asked.size(); ++form)
        forms[form] = asked[form].data() + std::int64_t{task} * problem.head_dim;
      mine[static_cast<std::size_t>(task)] =
          over_own_keys(problem, all_bands, kept_bands, turned, std::span(forms).first(asked.size()), position, head);
    };
    team.run(static_cast<int>(count), one, [] {});
  });
  transport.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(ranks)));
  Recall recall{.rows = 0, .mean = 0, .least = 1};
  for (std::size_t row = 0; row < count; ++row) {
    Sums sums;
    for (std::size_t at = row; at < ranks.size(); at += count)
      sums = {joined(sums.all, ranks[at].all), joined(sums.kept, ranks[at].kept)};
    if (sums.all == kNothing) continue;
    const double share = std::exp(sums.kept - sums.all);
    recall.mean += share, recall.least = std::min(recall.least, share), ++recall.rows;
  }
  recall.mean = recall.rows > 0 ? recall.mean / static_cast<double>(recall.rows) : 1;
  return recall;
}

}  // namespace gyre
