// A Llama as its definition says, in float64, row by row.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "small_llama.hpp"

namespace gyre::longbook {

class NaiveLlama {
 public:
  using Row = std::vector<double>;

  explicit NaiveLlama(const SmallLlama& model) : model_(model) {}

  /// -ln p of each token but the first, as the model foretells it from those before.
  std::vector<double> losses(std::span<const std::int32_t> text) const {
    std::vector<Row> stream;
    for (const std::int32_t token : text) {
      const float* row = weight("token_embd") + token * kSmall.width;
      stream.emplace_back(row, row + kSmall.width);
    }
    for (int layer = 0; layer < kSmall.layers; ++layer) {
      const std::string at = "blk." + std::to_string(layer) + ".";
      attend(at, stream);
      for (Row& row : stream) feed(at, row);
    }
    std::vector<double> losses;
    for (std::size_t position = 0; position + 1 < text.size(); ++position) {
      const Row logits = times("token_embd", norm("output_norm", stream[position]), kSmall.vocabulary);
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit);
      losses.push_back(std::log(sum) - logits[text[position + 1]]);
    }
    return losses;
  }

 private:
  const float* weight(const std::string& name) const { return model_.tensors.at(name + ".weight").data(); }
  Row times(const std::string& name, const Row& row, int outputs) const {
    Row product(outputs);
    const float* entry = weight(name);
    for (double& output : product)
      for (const double input : row) output += *entry++ * input;
    return product;
  }
  Row norm(const std::string& name, const Row& row) const {
    double squares = 0;
    for (const double value : row) squares += value * value;
    Row normed = row;
    for (std::size_t channel = 0; channel < row.size(); ++channel)
      normed[channel] *=
          weight(name)[channel] / std::sqrt(squares / static_cast<double>(row.size()) + static_cast<float>(kSmall.norm_epsilon));
    return normed;
  }
  static void rotate(Row& row, std::size_t position) {
    for (std::size_t head = 0; head < row.size(); head += kSmall.head_dim) {
      for (int pair = 0; pair < kSmall.rotary_dim / 2; ++pair) {
        const double angle = static_cast<double>(position) * std::pow(kSmall.rotary_base, -2.0 * pair / kSmall.rotary_dim);
        double &a = row[head + 2 * pair], &b = row[head + 2 * pair + 1];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle), a = turned;
      }
    }
  }
  void attend(const std::string& at, std::vector<Row>& stream) const {
    std::vector<Row> queries, keys, values;
    for (std::size_t position = 0; position < stream.size(); ++position) {
      const Row normed = norm(at + "attn_norm", stream[position]);
      rotate(queries.emplace_back(times(at + "attn_q", normed, kSmall.query_width())), position);
      rotate(keys.emplace_back(times(at + "attn_k", normed, kSmall.key_width())), position);
      values.push_back(times(at + "attn_v", normed, kSmall.key_width()));
    }
    for (std::size_t position = 0; position < stream.size(); ++position) {
      Row out;
      for (int head = 0; head < kSmall.query_heads; ++head) {
        const Row of_head = attend_head(queries[position], keys, values, position, head);
        out.insert(out.end(), of_head.begin(), of_head.end());
      }
      const Row added = times(at + "attn_output", out, kSmall.width);
      for (int channel = 0; channel < kSmall.width; ++channel) stream[position][channel] += added[channel];
    }
  }
  static Row attend_head(const Row& query, const std::vector<Row>& keys, const std::vector<Row>& values, std::size_t last,
                         int head) {
    const int dim = kSmall.head_dim, key_head = head / (kSmall.query_heads / kSmall.key_heads);
    Row out(dim);
    double sum = 0;
    for (std::size_t key = 0; key <= last; ++key) {
      double score = 0;
      for (int channel = 0; channel < dim; ++channel) score += query[head * dim + channel] * keys[key][key_head * dim + channel];
      const double weight = std::exp(score / std::sqrt(dim));
      sum += weight;
      for (int channel = 0; channel < dim; ++channel) out[channel] += weight * values[key][key_head * dim + channel];
    }
    for (double& value : out) value /= sum;
    return out;
  }
  void feed(const std::string& at, Row& row) const {
    const Row normed = norm(at + "ffn_norm", row);
    Row gate = times(at + "ffn_gate", normed, kSmall.hidden);
    const Row up = times(at + "ffn_up", normed, kSmall.hidden);
    for (int channel = 0; channel < kSmall.hidden; ++channel) gate[channel] *= up[channel] / (1 + std::exp(-gate[channel]));
    const Row added = times(at + "ffn_down", gate, kSmall.width);
    for (int channel = 0; channel < kSmall.width; ++channel) row[channel] += added[channel];
  }

  const SmallLlama& model_;
};

}  // namespace gyre::longbook
