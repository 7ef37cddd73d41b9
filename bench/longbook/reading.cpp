#include "bench/longbook/reading.hpp"

#include <algorithm>
#include <cmath>

#include "bench/longbook/surprise.hpp"
#include "bench/transformer/reduction.hpp"

namespace gyre::longbook {
namespace {

/// What one rank has of one forward pass.
struct Pass {
  ForwardSeconds seconds;
  std::int32_t first_token = kNoTarget;  // on the rank that has the last row
};

Pass forward(Transport& transport, Llama& model, std::span<const std::int32_t> tokens, bool has_last, LayerAttention& attention) {
  Pass pass;
  std::vector<float> logits(static_cast<std::size_t>(has_last ? model.shape().vocabulary : 0));
  transport.barrier();
  Stopwatch watch, whole;
  model.forward(tokens, attention, pass.seconds);
  watch.lap();
  if (has_last) {
    model.logits(std::ssize(tokens) - 1, 1, logits.data());
    pass.first_token = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  pass.seconds.logits = watch.lap();
  pass.seconds.total = whole.lap();
  return pass;
}

/// All ranks' passes, of the call of the median time. Collective.
void time_calls(Transport& transport, Llama& model, std::span<const std::int32_t> tokens, bool has_last, LayerAttention& attention,
                int repeat, Reading& reading) {
  std::vector<std::vector<Pass>> calls;
  const Traffic before = transport.traffic();
  for (int call = 0; call < repeat; ++call) {
    const Pass mine = forward(transport, model, tokens, has_last, attention);
    all_gather_value(transport, mine, std::span(calls.emplace_back(transport.ranks())));
  }
  const Traffic after = transport.traffic();
  reading.bytes_sent = static_cast<std::int64_t>(sum_over_ranks(transport, after.bytes_sent - before.bytes_sent)) / repeat;
  reading.bytes_borrowed =
      static_cast<std::int64_t>(sum_over_ranks(transport, after.bytes_borrowed - before.bytes_borrowed)) / repeat;
  const auto last_of = [](const std::vector<Pass>& passes) {
    return *std::find_if(passes.begin(), passes.end(), [](const Pass& pass) { return pass.first_token != kNoTarget; });
  };
  std::sort(calls.begin(), calls.end(),
            [&](const auto& a, const auto& b) { return last_of(a).seconds.total < last_of(b).seconds.total; });
  const std::vector<Pass>& median = calls[calls.size() / 2];
  for (const Pass& pass : median) reading.rank_seconds.push_back(pass.seconds);
  reading.first_token_seconds = last_of(median).seconds.total;
  reading.first_token = last_of(median).first_token;
}

}  // namespace

double Reading::mean_loss(std::int64_t begin, std::int64_t end) const {
  double sum = 0;
  for (std::int64_t position = begin; position < end; ++position) sum += losses[position];
  return sum / static_cast<double>(end - begin);
}

double Reading::perplexity() const {
  return std::exp(mean_loss());
}

Reading read(Transport& transport, Llama& model, std::span<const std::int32_t> text, const Problem& problem,
             const ReadingOptions& options) {
  LayerAttention attention(transport, problem, options.attention, options.choices);
  Reading reading;
  reading.strategy = attention.strategy(), reading.partition = attention.partition();
  std::vector<std::int32_t> tokens, targets;
  std::vector<std::int64_t> positions;
  for (const Range& range : attention.rows()) {
    for (std::int64_t position = range.begin; position < range.end; ++position) {
      positions.push_back(position);
      tokens.push_back(text[position]);
      targets.push_back(position + 1 < std::ssize(text) ? text[position + 1] : kNoTarget);
    }
  }
  const bool has_last = !positions.empty() && positions.back() + 1 == std::ssize(text);
  time_calls(transport, model, tokens, has_last, attention, options.repeat, reading);
  reading.kept_share = attention.kept_share();

  Stopwatch watch;
  std::vector<float> losses(targets.size());
  surprises(model, targets, losses);
  reading.scoring_seconds = maximum_over_ranks(transport, watch.lap());
  reading.losses.resize(text.size());
  for (std::size_t row = 0; row < losses.size(); ++row) reading.losses[positions[row]] = losses[row];
  transformer::add_over_ranks(transport, reading.losses);  // each position is one rank's, 0 on the others
  reading.losses.pop_back();
  return reading;
}

}  // namespace gyre::longbook
