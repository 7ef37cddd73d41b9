// Attention of one rank as its definition says: causal within documents, every row by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bench/trainer/attention_call.hpp"
#include "bench/trainer/model_shape.hpp"

namespace gyre::trainer {

template <class Real>
class NaiveAttention : public AttentionCall<Real> {
 public:
  NaiveAttention(const ModelShape& shape, const std::vector<std::int64_t>& documents) : shape_(shape) {
    for (const std::int64_t length : documents) first_.insert(first_.end(), length, std::ssize(first_));
  }

  void forward(const AttentionRows<Real>& rows) override {
    each_row([&](std::int64_t row, int head) {
      const std::vector<double> scores = scores_of(rows, row, head);
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (const double score : scores) sum += std::exp(score - largest);
      rows.lse[row * shape_.query_heads + head] = static_cast<float>(largest + std::log(sum));
      for (int channel = 0; channel < shape_.head_dim; ++channel) {
        double numerator = 0;
        for (std::int64_t key = first_[row]; key <= row; ++key)
          numerator += std::exp(scores[key - first_[row]] - largest) * rows.values[key_element(key, head) + channel];
        rows.out[query_element(row, head) + channel] = static_cast<Real>(numerator / sum);
      }
    });
  }

  void backward(const AttentionRows<Real>& rows, const AttentionGradients<Real>& gradients) override {
    const std::int64_t tokens = std::ssize(first_);
    std::vector<double> keys(tokens * shape_.key_width()), values(keys);
    each_row([&](std::int64_t row, int head) {
      const Real *grad_out = gradients.out + query_element(row, head), *out = rows.out + query_element(row, head);
      const std::vector<double> scores = scores_of(rows, row, head);
      // Not the saved log-sum-exp, which is fp32.
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0, along_out = 0;
      for (const double score : scores) sum += std::exp(score - largest);
      for (int channel = 0; channel < shape_.head_dim; ++channel)
        along_out += static_cast<double>(grad_out[channel]) * out[channel];
      std::vector<double> grad_query(shape_.head_dim);
      for (std::int64_t key = first_[row]; key <= row; ++key) {
        const double weight = std::exp(scores[key - first_[row]] - largest) / sum;
        const std::int64_t at = key_element(key, head);
        double along_value = 0;
        for (int channel = 0; channel < shape_.head_dim; ++channel)
          along_value += grad_out[channel] * static_cast<double>(rows.values[at + channel]);
        const double slope = weight * (along_value - along_out) / std::sqrt(shape_.head_dim);
        for (int channel = 0; channel < shape_.head_dim; ++channel) {
          values[at + channel] += weight * grad_out[channel];
          keys[at + channel] += slope * rows.queries[query_element(row, head) + channel];
          grad_query[channel] += slope * rows.keys[at + channel];
        }
      }
      for (int channel = 0; channel < shape_.head_dim; ++channel)
        gradients.queries[query_element(row, head) + channel] = static_cast<Real>(grad_query[channel]);
    });
    std::transform(keys.begin(), keys.end(), gradients.keys, [](double value) { return static_cast<Real>(value); });
    std::transform(values.begin(), values.end(), gradients.values, [](double value) { return static_cast<Real>(value); });
  }

 private:
  template <class Visit>
  void each_row(Visit&& visit) const {
    for (std::int64_t row = 0; row < std::ssize(first_); ++row)
      for (int head = 0; head < shape_.query_heads; ++head) visit(row, head);
  }
  std::int64_t query_element(std::int64_t row, int head) const { return row * shape_.query_width() + head * shape_.head_dim; }
  std::int64_t key_element(std::int64_t key, int query_head) const {
    return key * shape_.key_width() + query_head / (shape_.query_heads / shape_.key_heads) * shape_.head_dim;
  }
  std::vector<double> scores_of(const AttentionRows<Real>& rows, std::int64_t row, int head) const {
    std::vector<double> scores;
    for (std::int64_t key = first_[row]; key <= row; ++key) {
      double dot = 0;
      for (int channel = 0; channel < shape_.head_dim; ++channel)
        dot += static_cast<double>(rows.queries[query_element(row, head) + channel]) * rows.keys[key_element(key, head) + channel];
      scores.push_back(dot / std::sqrt(shape_.head_dim));
    }
    return scores;
  }

  ModelShape shape_;
  std::vector<std::int64_t> first_;  // [row] first key of its document
};

}  // namespace gyre::trainer
