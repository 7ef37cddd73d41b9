#include "bench/longbook/layer_attention.hpp"

#include <utility>

#include "comm/agreement.hpp"
#include "runtime/instruction_set.hpp"

namespace gyre::longbook {
namespace {

/// The rows that ranks have, as a placement of its own.
PartitionChoice layout_of(Transport& transport, std::span<const Range> rows) {
  std::vector<Chunk> chunks;
  int rank = 0;
  for (const std::vector<Range>& ranges : gather_row_map(transport, rows)) {
    for (const Range& range : ranges) chunks.push_back({range, rank});
    ++rank;
  }
  return PartitionChoice::layout(std::move(chunks));
}

/// That the queries of some rows see, summed over heads.
double pairs_of(const Problem& problem, std::span<const Range> rows) {
  const Bands bands = problem.bands();
  double pairs = 0;
  for (const Range& range : rows) pairs += static_cast<double>(bands.count(range, {0, problem.key_tokens}));
  return pairs * problem.query_heads / bands.heads();
}

}  // namespace

LayerAttention::LayerAttention(Transport& transport, const Problem& problem, const Options& options,
                               std::vector<SparseChoice> choices)
    : transport_(transport), problem_(problem), options_(options), choices_(std::move(choices)) {
  if (!choices_.empty()) together(transport, [&] { require_choices(problem, choices_); });
  Attention attention(transport, problem, options);
  rows_ = attention.query_rows();
  strategy_ = to_string(attention.strategy()), partition_ = attention.layout().partition.text();
  if (choices_.empty()) {
    of_all_pairs_.emplace(std::move(attention));
    return;
  }
  options_.strategy = attention.strategy();
  options_.partition = layout_of(transport, rows_);
  team_.emplace(options.threads);
}

void LayerAttention::forward(const Operands& operands, ForwardSeconds& seconds) {
  if (of_all_pairs_) return call(*of_all_pairs_, operands, seconds);
  Stopwatch watch;
  Problem chosen = problem_;
  chosen.mask =
      estimate_mask(transport_, *team_, agree_on_kernels(transport_, options_.isa), problem_,
                    {.queries = operands.queries, .keys = operands.keys, .query_rows = rows_, .key_rows = rows_}, choices_);
  seconds.estimating += watch.lap();
  Attention attention(transport_, chosen, options_);
  seconds.planning += watch.lap();
  call(attention, operands, seconds);
  kept_pairs_ += pairs_of(chosen, rows_), whole_pairs_ += pairs_of(problem_, rows_);
}

void LayerAttention::call(Attention& attention, const Operands& operands, ForwardSeconds& seconds) const {
  Stopwatch watch;
  const CallTime time = attention.forward(operands);
  seconds.attending += time.computing_seconds, seconds.packing += time.packing_seconds;
  seconds.waiting += watch.lap() - time.computing_seconds - time.packing_seconds;
}

double LayerAttention::kept_share() const {
  if (of_all_pairs_) return 1;
  const double kept = sum_over_ranks(transport_, kept_pairs_);
  return kept / sum_over_ranks(transport_, whole_pairs_);
}

}  // namespace gyre::longbook
