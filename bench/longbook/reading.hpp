// One reading of a text over the ranks: the time to its first token, and how the model foretold each of its tokens.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bench/longbook/llama.hpp"
#include "comm/transport.hpp"

namespace gyre::longbook {

struct Reading {
  std::string strategy, partition;           // resolved
  double kept_share = 1;                     // of the pairs of all layers
  std::vector<ForwardSeconds> rank_seconds;  // [ranks] of the call of the median time to the first token
  double first_token_seconds = 0;            // from the tokens to the logits behind the last of them, on the rank that has its row
  double scoring_seconds = 0;                // logits of all rows, slowest rank
  std::int32_t first_token = 0;              // the likeliest
  std::int64_t bytes_sent = 0, bytes_borrowed = 0;  // of all ranks and layers of a call
  std::vector<float> losses;                        // [tokens - 1] by position: -ln p of the token behind it

  double mean_loss() const { return mean_loss(0, std::ssize(losses)); }
  double mean_loss(std::int64_t begin, std::int64_t end) const;
  double perplexity() const;
};

struct ReadingOptions {
  Options attention;
  int repeat = 1;                          // forward passes
  std::vector<SparseChoice> choices = {};  // of query heads, for every layer anew; empty: they see all pairs
};

/// problem: attention of a layer, over as many tokens as the text has. The same on every rank, which all get the same result.
/// Collective. Throws what LayerAttention throws.
Reading read(Transport& transport, Llama& model, std::span<const std::int32_t> text, const Problem& problem,
             const ReadingOptions& options);

}  // namespace gyre::longbook
