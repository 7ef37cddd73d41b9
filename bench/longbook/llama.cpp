#include "bench/longbook/llama.hpp"

#include <algorithm>

#include "bench/transformer/linear.hpp"
#include "bench/transformer/rms_norm.hpp"
#include "bench/transformer/swiglu.hpp"

namespace gyre::longbook {
namespace {

using transformer::Into;
using transformer::linear;
using transformer::rms_norm;

constexpr std::int64_t kFeedRows = 256;  // 1.5 MB of each hidden matrix of 1,536: what is made of it is read from the cache

}  // namespace

Problem attention_of(const LlamaShape& shape, std::int64_t tokens) {
  Problem problem;
  problem.query_tokens = problem.key_tokens = tokens;
  problem.query_heads = shape.query_heads, problem.key_heads = shape.key_heads;
  problem.head_dim = problem.value_dim = shape.head_dim;
  // GGUF files have the rows of W_q and W_k in the order that makes pairs neighbours.
  problem.rotary = {.base = shape.rotary_base, .layout = RotaryLayout::interleaved, .dims = shape.rotary_dim};
  problem.mask = Mask::causal();
  return problem;
}

void Llama::forward(std::span<const std::int32_t> tokens, LayerAttention& attention, ForwardSeconds& seconds) {
  Stopwatch watch, whole;
  rows_ = std::ssize(tokens);
  for (auto* tensor : {&stream_, &norm_}) tensor->resize(rows_ * shape_.width);
  for (auto* tensor : {&queries_, &out_}) tensor->resize(rows_ * shape_.query_width());
  for (auto* tensor : {&keys_, &values_}) tensor->resize(rows_ * shape_.key_width());
  for (auto* tensor : {&gate_, &up_}) tensor->resize(std::min(rows_, kFeedRows) * shape_.hidden);
  float* row = stream_.data();
  for (const std::int32_t token : tokens)
    row = std::copy_n(weights_.embedding.data() + std::int64_t{token} * shape_.width, shape_.width, row);
  seconds.embedding += watch.lap();
  for (const LlamaLayer& layer : weights_.layers) {
    attend(layer, attention, seconds);
    feed_forward(layer, seconds);
  }
  seconds.total += whole.lap();
}

void Llama::attend(const LlamaLayer& layer, LayerAttention& attention, ForwardSeconds& seconds) {
  Stopwatch watch;
  rms_norm({rows_, shape_.width, shape_.norm_epsilon}, stream_.data(), layer.attention_gain.data(), norm_.data());
  seconds.norms += watch.lap();
  linear({rows_, shape_.width, shape_.query_width()}, norm_.data(), layer.query.data(), queries_.data());
  linear({rows_, shape_.width, shape_.key_width()}, norm_.data(), layer.key.data(), keys_.data());
  linear({rows_, shape_.width, shape_.key_width()}, norm_.data(), layer.value.data(), values_.data());
  seconds.projections += watch.lap();
  const auto rows = [&](std::vector<float>& data, int heads) { return Rows<float>(data.data(), rows_, heads, shape_.head_dim); };
  attention.forward({.queries = rows(queries_, shape_.query_heads),
                     .keys = rows(keys_, shape_.key_heads),
                     .values = rows(values_, shape_.key_heads),
                     .out = rows(out_, shape_.query_heads),
                     .lse = nullptr},
                    seconds);
  watch.lap();
  linear({rows_, shape_.query_width(), shape_.width}, out_.data(), layer.output.data(), stream_.data(), Into::add);
  seconds.projections += watch.lap();
}

void Llama::feed_forward(const LlamaLayer& layer, ForwardSeconds& seconds) {
  Stopwatch watch;
  rms_norm({rows_, shape_.width, shape_.norm_epsilon}, stream_.data(), layer.feed_gain.data(), norm_.data());
  seconds.norms += watch.lap();
  for (std::int64_t first = 0; first < rows_; first += kFeedRows) {
    const std::int64_t count = std::min(kFeedRows, rows_ - first);
    const float* const norm = norm_.data() + first * shape_.width;
    linear({count, shape_.width, shape_.hidden}, norm, layer.gate.data(), gate_.data());
    linear({count, shape_.width, shape_.hidden}, norm, layer.up.data(), up_.data());
    transformer::swiglu(count * shape_.hidden, gate_.data(), up_.data(), gate_.data());
    linear({count, shape_.hidden, shape_.width}, gate_.data(), layer.down.data(), stream_.data() + first * shape_.width, Into::add);
  }
  seconds.feed_forward += watch.lap();
}

void Llama::logits(std::int64_t first, std::int64_t count, float* out) {
  float* const norm = norm_.data() + first * shape_.width;
  rms_norm({count, shape_.width, shape_.norm_epsilon}, stream_.data() + first * shape_.width, weights_.final_gain.data(), norm);
  linear({count, shape_.width, shape_.vocabulary}, norm, weights_.to_logits(), out);
}

}  // namespace gyre::longbook
