// The whole model in float64 against differences, and in float32 against float64, with attention as its definition says.
#include <algorithm>
#include <cmath>

#include "bench/trainer/model.hpp"
#include "bench/trainer/text.hpp"
#include "support/catch.hpp"
#include "trainer/naive_attention.hpp"
#include "trainer/small_model.hpp"

using namespace gyre;
using namespace gyre::trainer;

namespace {

/// Parameters far from where training begins, so that no layer is nearly linear.
template <class Real>
std::vector<Real> strong_parameters(const ModelShape& shape, const ParameterLayout& layout) {
  auto parameters = initial_parameters<double>(shape, layout, 3);
  for (double& parameter : parameters) parameter *= parameter == 1 ? 0.7 : 20;
  return {parameters.begin(), parameters.end()};
}

template <class Real>
double loss_and_gradients(const std::vector<Real>& parameters, const PackedSequence& sequence, std::vector<Real>& gradients) {
  Model<Real> model(small_shape());
  NaiveAttention<Real> attention(small_shape(), sequence.documents);
  gradients.assign(parameters.size(), 0);
  const Range all{0, std::ssize(sequence.tokens)};
  return model.loss_and_gradients(parameters.data(), batch_of(sequence, std::span(&all, 1)), attention, gradients.data());
}

}  // namespace

TEST_CASE("the gradients of every tensor of the model are those of differences in float64") {
  const ParameterLayout layout(small_shape());
  const PackedSequence sequence = Text::parse(small_text(20), 1).sequence(1, 75);
  REQUIRE(sequence.documents.size() >= 3);
  auto parameters = strong_parameters<double>(small_shape(), layout);
  std::vector<double> gradients, unused;
  loss_and_gradients(parameters, sequence, gradients);
  for (const TensorPlace& place : layout.tensors()) {
    double largest = 0;
    for (std::int64_t element = 0; element < place.size(); ++element)
      largest = std::max(largest, std::abs(gradients[place.offset + element]));
    CHECK(largest > 1e-4);
    // The first letters of the vocabulary do not occur; 'a' is 97.
    const std::int64_t first = place.name == "embedding" ? 97 * place.columns : 0;
    for (std::int64_t element = first + 1; element < place.size(); element += 1 + place.size() / 7) {
      constexpr double kStep = 1e-5;
      double& parameter = parameters[place.offset + element];
      const double before = parameter;
      parameter = before + kStep;
      const double above = loss_and_gradients(parameters, sequence, unused);
      parameter = before - kStep;
      const double below = loss_and_gradients(parameters, sequence, unused);
      parameter = before;
      INFO(place.name << " [" << element << "]");
      const double difference = (above - below) / (2 * kStep) / static_cast<double>(sequence.target_count);
      CHECK(std::abs(gradients[place.offset + element] - difference) < 1e-6 * largest);
    }
  }
}

TEST_CASE("the gradients of every tensor in float32 are within 1e-5 of those in float64") {
  const ParameterLayout layout(small_shape());
  const PackedSequence sequence = Text::parse(small_text(20), 1).sequence(2, 120);
  std::vector<float> narrow;
  std::vector<double> wide;
  const auto parameters = strong_parameters<float>(small_shape(), layout);
  const double narrow_loss = loss_and_gradients(parameters, sequence, narrow);
  CHECK(narrow_loss == Approx(loss_and_gradients<double>({parameters.begin(), parameters.end()}, sequence, wide)).epsilon(1e-6));
  for (const TensorPlace& place : layout.tensors()) {
    double largest = 0, error = 0;
    for (std::int64_t element = place.offset; element < place.offset + place.size(); ++element) {
      largest = std::max(largest, std::abs(wide[element]));
      error = std::max(error, std::abs(narrow[element] - wide[element]));
    }
    INFO(place.name);
    CHECK(error < 1e-5 * largest);
  }
}

TEST_CASE("a sequence's loss is that of its documents by themselves: none sees another") {
  const ParameterLayout layout(small_shape());
  const PackedSequence packed = Text::parse("first\n\nsecond one\n\nthird\n", 1).sequence(1, 23);
  const auto parameters = strong_parameters<double>(small_shape(), layout);
  std::vector<double> gradients;
  double alone = 0;
  std::int64_t begin = 0;
  for (const std::int64_t length : packed.documents) {
    PackedSequence one;
    one.tokens.assign(packed.tokens.begin() + begin, packed.tokens.begin() + begin + length);
    one.targets.assign(packed.targets.begin() + begin, packed.targets.begin() + begin + length);
    one.documents = {length};
    alone += loss_and_gradients(parameters, one, gradients);
    begin += length;
  }
  CHECK(loss_and_gradients(parameters, packed, gradients) == Approx(alone).epsilon(1e-12));
}
