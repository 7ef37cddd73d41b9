#include "runtime/mechanism/estimate.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "comm/agreement.hpp"
#include "runtime/mechanism/pooled.hpp"
#include "runtime/mechanism/vertical_slash.hpp"
#include "runtime/mechanism/xattention.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

bool same_bands(const Mask& a, const Mask& b) {
  return std::ranges::equal(a.bands().all(), b.bands().all());
}

/// Rows as they have to be for the ranges that they are said to stand for.
void require_rows(const TypedRows& rows, std::span<const Range> tokens, int heads, int dim, const char* name) {
  if (rows.tokens == count_of(tokens) && rows.heads == heads && rows.dim == dim) return;
  throw std::invalid_argument(std::string("an estimate's ") + name + " are [" + std::to_string(rows.tokens) + ", " +
                              std::to_string(rows.heads) + ", " + std::to_string(rows.dim) +
                              "]; their ranges and the problem want [" + std::to_string(count_of(tokens)) + ", " +
                              std::to_string(heads) + ", " + std::to_string(dim) + "]");
}

/// Heads with one choice.
struct Chosen {
  SparseChoice choice;
  std::vector<int> heads;
};

std::vector<Chosen> by_choice(std::span<const SparseChoice> choices, int heads) {
  std::vector<Chosen> groups;
  for (int head = 0; head < heads; ++head) {
    const SparseChoice& choice = choices[choices.size() == 1 ? 0 : static_cast<std::size_t>(head)];
    const auto known = std::ranges::find(groups, choice, &Chosen::choice);
    if (known != groups.end()) {
      known->heads.push_back(head);
    } else {
      groups.push_back({choice, {head}});
    }
  }
  return groups;
}

/// From what heads have chosen to the part of the mask that they see.
class Parts {
 public:
  Parts(const Estimator& estimator, const Chosen& chosen)
      : estimator_(estimator), heads_(chosen.heads), text_(to_string(chosen.choice)) {}

  Mask operator()(const EveryPair&) const { return of_these_heads(Mask::full()); }
  Mask operator()(const AShape& choice) const {
    return of_these_heads(Mask::sinks(choice.first_keys) | Mask::window(choice.window_keys - 1));
  }
  Mask operator()(const BlockTopk& choice) const { return Mask::blocks(select_block_topk(estimator_, choice, heads_), text_); }
  Mask operator()(const XAttention& choice) const { return Mask::blocks(select_xattention(estimator_, choice, heads_), text_); }
  Mask operator()(const Moba& choice) const { return Mask::blocks(select_moba(estimator_, choice, heads_), text_); }
  Mask operator()(const VerticalSlash& choice) const {
    ColumnsAndDiagonals tables = select_vertical_slash(estimator_, choice, heads_);
    if (tables.diagonals.size() == 1)
      return Mask::columns(std::move(tables.columns), text_) | Mask::diagonals(std::move(tables.diagonals.front()), text_);
    return Mask::blocks(std::move(tables.columns), text_) |
           Mask::diagonals(std::move(tables.diagonals), estimator_.problem.dual_chunk->length(), text_);
  }

 private:
  /// Of some heads: one block that holds all pairs, shown to them alone.
  Mask of_these_heads(Mask mask) const {
    const int heads = estimator_.problem.query_heads;
    if (std::ssize(heads_) == heads) return mask;
    BlockTable table({.query_tokens = kEveryQuery, .key_tokens = kEveryQuery, .heads = heads, .rows = 1, .columns = 1});
    const std::uint8_t shown = 1;
    for (const int head : heads_) table.show(head, 0, std::span(&shown, 1));
    return std::move(mask) & Mask::blocks(std::move(table), text_);
  }

  const Estimator& estimator_;
  const std::vector<int>& heads_;
  std::string text_;
};

}  // namespace

RowMap rows_for_estimate(std::int64_t tokens, int ranks) {
  return zigzag_rows(tokens, XAttention::kBlock, ranks);
}

void require_choices(const Problem& problem, std::span<const SparseChoice> choices) {
  if (choices.size() != 1 && std::ssize(choices) != problem.query_heads)
    throw std::invalid_argument(plural(std::ssize(choices), "sparse choice") + " for " + plural(problem.query_heads, "query head") +
                                "; give one for all, or one for each");
  for (const SparseChoice& choice : choices) {
    if (!estimates(choice)) continue;
    const auto refuse = [&](const char* reason) {
      throw std::invalid_argument("sparse choice '" + to_string(choice) + "' " + reason);
    };
    if (!problem.self_attention()) refuse("is for self-attention; give as many queries as keys, and no query offset");
    if (!same_bands(problem.mask, Mask::causal())) refuse("estimates under the mask causal; give that, or use a_shape or dense");
    if (problem.dual_chunk && !std::holds_alternative<VerticalSlash>(choice))
      refuse("estimates scores of one position a query; leave dual chunk attention away, or use vertical_slash, a_shape or dense");
    if (problem.softcap) refuse("estimates scores without a cap; leave the softcap away, or use a_shape or dense");
    if (problem.bias != PositionBias::none) refuse("estimates scores without ALiBi; leave it away, or use a_shape or dense");
    if (problem.sinks != SinkLogits::none) refuse("estimates scores without sink logits; leave them away, or use a_shape or dense");
  }
}

Mask estimate_mask(Transport& transport, Team& team, const KernelTable& kernels, const Problem& problem, const EstimateRows& rows,
                   std::span<const SparseChoice> choices) {
  together(transport, [&] {
    problem.validate();
    require_choices(problem, choices);
    require_rows(rows.queries, rows.query_rows, problem.query_heads, problem.head_dim, "queries");
    require_rows(rows.keys, rows.key_rows, problem.key_heads, problem.head_dim, "keys");
  });
  Statement statement;
  for (std::size_t head = 0; head < choices.size(); ++head)
    statement.emplace_back("sparse choice " + std::to_string(head), to_string(choices[head]));
  agree(transport, statement);
  std::optional<RotaryTable> table;
  if (problem.rotary) table.emplace(*problem.rotary, problem.head_dim, kernels);
  const RotaryTable* const rotary = table ? &*table : nullptr;
  const Standing standing{.chunk = problem.dual_chunk ? problem.dual_chunk->length() : 0};
  const Estimator estimator{.transport = transport,
                            .team = team,
                            .kernels = kernels,
                            .problem = problem,
                            .queries = {rows.queries, gather_row_map(transport, rows.query_rows), rotary, standing},
                            .keys = {rows.keys, gather_row_map(transport, rows.key_rows), rotary, standing}};
  require_covered(estimator.queries.held, problem.query_tokens, "query");
  require_covered(estimator.keys.held, problem.key_tokens, "key");
  if (problem.query_tokens == 0 || problem.key_tokens == 0) return problem.mask;
  std::optional<Mask> any;
  for (const Chosen& chosen : by_choice(choices, problem.query_heads)) {
    Mask part = std::visit(Parts(estimator, chosen), chosen.choice);
    any = any ? *any | part : std::move(part);
  }
  return problem.mask & *any;
}

}  // namespace gyre
