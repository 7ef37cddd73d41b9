#include "bench/trainer/model.hpp"

#include <algorithm>

#include "bench/trainer/cross_entropy.hpp"
#include "bench/transformer/linear.hpp"
#include "bench/transformer/rms_norm.hpp"
#include "bench/transformer/swiglu.hpp"

namespace gyre::trainer {

using namespace transformer;

template <class Real>
Model<Real>::Model(const ModelShape& shape) : shape_(shape), layout_((shape.validate(), shape)), saved_(shape.layers) {}

template <class Real>
void Model<Real>::make_room(std::int64_t rows) {
  rows_ = rows;
  const std::int64_t width = rows * shape_.width, hidden = rows * shape_.hidden, query = rows * shape_.query_width(),
                     key = rows * shape_.key_width();
  for (Saved& saved : saved_) {
    for (auto* tensor : {&saved.input, &saved.attention_norm, &saved.middle, &saved.feed_norm}) tensor->resize(width);
    for (auto* tensor : {&saved.gate, &saved.up, &saved.product}) tensor->resize(hidden);
    for (auto* tensor : {&saved.queries, &saved.out}) tensor->resize(query);
    for (auto* tensor : {&saved.keys, &saved.values}) tensor->resize(key);
    saved.lse.resize(rows * shape_.query_heads);
  }
  for (auto* tensor : {&stream_, &norm_, &grad_stream_, &grad_norm_}) tensor->resize(width);
  for (auto* tensor : {&grad_product_, &grad_gate_, &grad_up_}) tensor->resize(hidden);
  for (auto* tensor : {&grad_out_, &grad_queries_}) tensor->resize(query);
  for (auto* tensor : {&grad_keys_, &grad_values_}) tensor->resize(key);
  logits_.resize(rows * shape_.vocabulary);
}

template <class Real>
AttentionRows<Real> Model<Real>::rows_of(Saved& saved) {
  return {saved.queries.data(), saved.keys.data(), saved.values.data(), saved.out.data(), saved.lse.data()};
}

template <class Real>
double Model<Real>::loss_and_gradients(const Real* parameters, const Batch& batch, AttentionCall<Real>& attention,
                                       Real* gradients) {
  make_room(std::ssize(batch.tokens));
  const Rotary<Real> rotary(batch.positions, shape_.head_dim, shape_.rotary_base);
  for (std::int64_t row = 0; row < rows_; ++row)
    std::copy_n(parameters + layout_.embedding + batch.tokens[row] * shape_.width, shape_.width, &stream_[row * shape_.width]);
  for (int layer = 0; layer < shape_.layers; ++layer) forward_layer(layer, parameters, rotary, attention);

  const NormShape norm = {rows_, shape_.width, shape_.norm_epsilon};
  const LinearShape to_logits = {rows_, shape_.width, shape_.vocabulary};
  rms_norm(norm, stream_.data(), parameters + layout_.final_gain, norm_.data());
  linear(to_logits, norm_.data(), parameters + layout_.logits, logits_.data());
  const double loss = cross_entropy(batch.targets, shape_.vocabulary, batch.gradient_scale, logits_.data());

  linear_backward(to_logits, norm_.data(), parameters + layout_.logits, logits_.data(), grad_norm_.data(), Into::overwrite,
                  gradients + layout_.logits);
  std::fill(grad_stream_.begin(), grad_stream_.end(), Real(0));
  rms_norm_backward(norm, stream_.data(), parameters + layout_.final_gain, grad_norm_.data(), grad_stream_.data(),
                    gradients + layout_.final_gain);
  for (int layer = shape_.layers - 1; layer >= 0; --layer) {
    backward_feed(layer, parameters, gradients);
    backward_attention(layer, parameters, rotary, attention, gradients);
  }
  for (std::int64_t row = 0; row < rows_; ++row) {
    Real* grad_embedding = gradients + layout_.embedding + batch.tokens[row] * shape_.width;
    for (int channel = 0; channel < shape_.width; ++channel) grad_embedding[channel] += grad_stream_[row * shape_.width + channel];
  }
  return loss;
}

template <class Real>
void Model<Real>::forward_layer(int layer, const Real* parameters, const Rotary<Real>& rotary, AttentionCall<Real>& attention) {
  const ParameterLayout::Layer& places = layout_.layers[layer];
  Saved& saved = saved_[layer];
  const NormShape norm = {rows_, shape_.width, shape_.norm_epsilon};

  saved.input = stream_;
  rms_norm(norm, stream_.data(), parameters + places.attention_gain, saved.attention_norm.data());
  const Real* normed = saved.attention_norm.data();
  linear({rows_, shape_.width, shape_.query_width()}, normed, parameters + places.query, saved.queries.data());
  linear({rows_, shape_.width, shape_.key_width()}, normed, parameters + places.key, saved.keys.data());
  linear({rows_, shape_.width, shape_.key_width()}, normed, parameters + places.value, saved.values.data());
  rotary.turn(saved.queries.data(), shape_.query_heads, Turn::forward);
  rotary.turn(saved.keys.data(), shape_.key_heads, Turn::forward);
  attention.forward(rows_of(saved));
  linear({rows_, shape_.query_width(), shape_.width}, saved.out.data(), parameters + places.output, stream_.data(), Into::add);

  saved.middle = stream_;
  rms_norm(norm, stream_.data(), parameters + places.feed_gain, saved.feed_norm.data());
  linear({rows_, shape_.width, shape_.hidden}, saved.feed_norm.data(), parameters + places.gate, saved.gate.data());
  linear({rows_, shape_.width, shape_.hidden}, saved.feed_norm.data(), parameters + places.up, saved.up.data());
  swiglu(rows_ * shape_.hidden, saved.gate.data(), saved.up.data(), saved.product.data());
  linear({rows_, shape_.hidden, shape_.width}, saved.product.data(), parameters + places.down, stream_.data(), Into::add);
}

template <class Real>
void Model<Real>::backward_feed(int layer, const Real* parameters, Real* gradients) {
  const ParameterLayout::Layer& places = layout_.layers[layer];
  const Saved& saved = saved_[layer];
  const LinearShape into_hidden = {rows_, shape_.width, shape_.hidden};
  linear_backward({rows_, shape_.hidden, shape_.width}, saved.product.data(), parameters + places.down, grad_stream_.data(),
                  grad_product_.data(), Into::overwrite, gradients + places.down);
  swiglu_backward(rows_ * shape_.hidden, saved.gate.data(), saved.up.data(), grad_product_.data(), grad_gate_.data(),
                  grad_up_.data());
  const Real* normed = saved.feed_norm.data();
  linear_backward(into_hidden, normed, parameters + places.gate, grad_gate_.data(), grad_norm_.data(), Into::overwrite,
                  gradients + places.gate);
  linear_backward(into_hidden, normed, parameters + places.up, grad_up_.data(), grad_norm_.data(), Into::add,
                  gradients + places.up);
  rms_norm_backward({rows_, shape_.width, shape_.norm_epsilon}, saved.middle.data(), parameters + places.feed_gain,
                    grad_norm_.data(), grad_stream_.data(), gradients + places.feed_gain);
}

template <class Real>
void Model<Real>::backward_attention(int layer, const Real* parameters, const Rotary<Real>& rotary, AttentionCall<Real>& attention,
                                     Real* gradients) {
  const ParameterLayout::Layer& places = layout_.layers[layer];
  Saved& saved = saved_[layer];
  const LinearShape to_queries = {rows_, shape_.width, shape_.query_width()}, to_keys = {rows_, shape_.width, shape_.key_width()};
  linear_backward({rows_, shape_.query_width(), shape_.width}, saved.out.data(), parameters + places.output, grad_stream_.data(),
                  grad_out_.data(), Into::overwrite, gradients + places.output);
  attention.backward(rows_of(saved), {grad_out_.data(), grad_queries_.data(), grad_keys_.data(), grad_values_.data()});
  rotary.turn(grad_queries_.data(), shape_.query_heads, Turn::back);
  rotary.turn(grad_keys_.data(), shape_.key_heads, Turn::back);
  const Real* normed = saved.attention_norm.data();
  linear_backward(to_queries, normed, parameters + places.query, grad_queries_.data(), grad_norm_.data(), Into::overwrite,
                  gradients + places.query);
  linear_backward(to_keys, normed, parameters + places.key, grad_keys_.data(), grad_norm_.data(), Into::add,
                  gradients + places.key);
  linear_backward(to_keys, normed, parameters + places.value, grad_values_.data(), grad_norm_.data(), Into::add,
                  gradients + places.value);
  rms_norm_backward({rows_, shape_.width, shape_.norm_epsilon}, saved.input.data(), parameters + places.attention_gain,
                    grad_norm_.data(), grad_stream_.data(), gradients + places.attention_gain);
}

template class Model<float>;
template class Model<double>;

}  // namespace gyre::trainer
