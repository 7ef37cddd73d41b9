// Attention of the layers of a reading: of all pairs, or of those that each layer's queries and keys choose for themselves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/longbook/forward_seconds.hpp"
#include "kernels/team.hpp"
#include "runtime/attention.hpp"
#include "runtime/mechanism/estimate.hpp"

namespace gyre::longbook {

class LayerAttention {
 public:
  /// choices: of query heads (require_choices), as estimate_mask has them; empty: one Attention serves all calls. Else every call
  /// estimates a mask and builds an Attention for it, by the strategy and with the rows of one of all pairs, so that a layer finds
  /// its rows where the layer before left them. Collective over the transport, which must outlive this. Throws what Attention and
  /// require_choices throw.
  LayerAttention(Transport& transport, const Problem& problem, const Options& options, std::vector<SparseChoice> choices = {});

  /// Of this rank, of queries and of keys: ascending token ranges.
  const std::vector<Range>& rows() const { return rows_; }
  const std::string& strategy() const { return strategy_; }    // resolved
  const std::string& partition() const { return partition_; }  // likewise

  /// One layer. Adds to attending, packing, waiting and, where heads choose, estimating and planning. Collective.
  void forward(const Operands& operands, ForwardSeconds& seconds);

  /// Of the pairs of all calls so far, those that were chosen, over those there are; 1 without choices. Collective.
  double kept_share() const;

 private:
  void call(Attention& attention, const Operands& operands, ForwardSeconds& seconds) const;

  Transport& transport_;
  Problem problem_;
  Options options_;
  std::vector<SparseChoice> choices_;
  std::vector<Range> rows_;
  std::string strategy_, partition_;
  std::optional<Attention> of_all_pairs_;    // where nothing is chosen
  std::optional<Team> team_;                 // where something is
  double kept_pairs_ = 0, whole_pairs_ = 0;  // of this rank's rows
};

}  // namespace gyre::longbook
