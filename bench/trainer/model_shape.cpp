#include "bench/trainer/model_shape.hpp"

#include <cmath>
#include <stdexcept>

#include "bench/trainer/random.hpp"

namespace gyre::trainer {

void ModelShape::validate() const {
  const auto require = [](const char* name, int value, int least) {
    if (value < least)
      throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be at least " +
                                  std::to_string(least));
  };
  require("layers", layers, 1);
  require("width", width, 1);
  require("key/value heads", key_heads, 1);
  require("query heads", query_heads, 1);
  require("head dim", head_dim, 2);
  require("hidden", hidden, 1);
  require("vocabulary", vocabulary, 1);
  if (query_heads % key_heads != 0)
    throw std::invalid_argument(std::to_string(key_heads) + " key/value heads do not divide " + std::to_string(query_heads) +
                                " query heads");
  if (head_dim % 2 != 0)
    throw std::invalid_argument("head dim is " + std::to_string(head_dim) + "; rotary positions turn pairs: give an even one");
}

ParameterLayout::ParameterLayout(const ModelShape& shape) {
  embedding = add("embedding", shape.vocabulary, shape.width);
  for (int layer = 0; layer < shape.layers; ++layer) {
    const std::string name = "layers." + std::to_string(layer) + '.';
    Layer& places = layers.emplace_back();
    places.attention_gain = add(name + "attention_gain", 1, shape.width);
    places.query = add(name + "query", shape.query_width(), shape.width);
    places.key = add(name + "key", shape.key_width(), shape.width);
    places.value = add(name + "value", shape.key_width(), shape.width);
    places.output = add(name + "output", shape.width, shape.query_width());
    places.feed_gain = add(name + "feed_gain", 1, shape.width);
    places.gate = add(name + "gate", shape.hidden, shape.width);
    places.up = add(name + "up", shape.hidden, shape.width);
    places.down = add(name + "down", shape.width, shape.hidden);
  }
  final_gain = add("final_gain", 1, shape.width);
  logits = add("logits", shape.vocabulary, shape.width);
}

std::int64_t ParameterLayout::add(std::string name, std::int64_t rows, std::int64_t columns) {
  tensors_.push_back({std::move(name), rows, columns, size_});
  size_ += rows * columns;
  return tensors_.back().offset;
}

template <class Real>
std::vector<Real> initial_parameters(const ModelShape& shape, const ParameterLayout& layout, std::uint64_t seed) {
  std::vector<Real> parameters(layout.size());
  Random random(seed);
  for (const TensorPlace& place : layout.tensors()) {
    const bool gain = place.name.ends_with("gain");
    const bool residual = place.name.ends_with(".output") || place.name.ends_with(".down");
    const double size = residual ? 0.02 / std::sqrt(2.0 * shape.layers) : 0.02;
    for (std::int64_t element = 0; element < place.size(); ++element)
      parameters[place.offset + element] = static_cast<Real>(gain ? 1 : size * random.normal());
  }
  return parameters;
}

template std::vector<float> initial_parameters<float>(const ModelShape&, const ParameterLayout&, std::uint64_t);
template std::vector<double> initial_parameters<double>(const ModelShape&, const ParameterLayout&, std::uint64_t);

}  // namespace gyre::trainer
