// Training over loopback: what a step gives on several ranks against one rank, and against the model in float64.
#include "bench/trainer/trainer.hpp"

#include <algorithm>
#include <cmath>

#include "bench/transformer/linear.hpp"
#include "bench/transformer/reduction.hpp"
#include "comm/loopback_transport.hpp"
#include "launch/folder.hpp"
#include "support/catch.hpp"
#include "trainer/naive_attention.hpp"
#include "trainer/small_model.hpp"

using namespace gyre;
using namespace gyre::trainer;

namespace {

Settings small_settings(const char* strategy) {
  Settings settings;
  settings.model = small_shape();
  settings.tokens = 150;
  settings.attention.strategy = parse_strategy(strategy);
  settings.attention.unit_tokens = 16;
  return settings;
}

/// A step as every rank saw it.
struct Step {
  double loss = 0;
  std::vector<float> before, gradients, after;
  bool operator==(const Step&) const = default;
};

/// [rank][step] of two steps. From the second on parameters are those of `from`, if that is given.
std::vector<std::vector<Step>> two_steps(int ranks, const char* strategy, const std::vector<Step>* from = nullptr) {
  const Text text = Text::parse(small_text(40), 1);
  std::vector<std::vector<Step>> found(ranks);
  gyre::transformer::use_blas_threads(1);
  run_loopback(ranks, [&](Transport& transport) {
    const Settings settings = small_settings(strategy);
    Trainer trainer(transport, settings);
    for (int step = 1; step <= 2; ++step) {
      if (from != nullptr) trainer.parameters() = (*from)[step - 1].before;
      Step& result = found[transport.rank()].emplace_back();
      result.before = trainer.parameters();
      result.loss = trainer.compute_gradients(text.sequence(step, settings.tokens)).loss;
      result.gradients = trainer.gradients();
      trainer.update(step);
      result.after = trainer.parameters();
    }
  });
  return found;
}

double worst(const std::vector<float>& gradients, const std::vector<float>& expected) {
  const ParameterLayout layout(small_shape());
  Checkpoint checkpoint;
  checkpoint.gradients = expected;
  double largest = 0;
  for (const Difference& difference : differences(layout, gradients, checkpoint)) largest = std::max(largest, difference.largest);
  return largest;
}

}  // namespace

TEST_CASE(
    "on 2, 3 and 4 ranks loss and gradients of every tensor are those of 1 rank within 1e-5, and the same bits on all of them") {
  const std::vector<Step> one = two_steps(1, "ring")[0];
  const std::pair<int, const char*> cases[] = {{2, "ring"}, {2, "ulysses"}, {3, "ring"},
                                               {4, "ring"}, {4, "ulysses"}, {4, "hybrid(2)"}};
  for (const auto& [ranks, strategy] : cases) {
    INFO(ranks << " ranks, " << strategy);
    const auto found = two_steps(ranks, strategy, &one);
    for (int step = 0; step < 2; ++step) {
      INFO("step " << step + 1);
      CHECK(worst(found[0][step].gradients, one[step].gradients) < 1e-5);
      CHECK(found[0][step].loss == Approx(one[step].loss).epsilon(1e-6));
    }
    for (int rank = 1; rank < ranks; ++rank) CHECK(found[rank] == found[0]);
  }
}

TEST_CASE("a step's loss and gradients are those of the model in float64 with attention as its definition says") {
  const Step step = two_steps(2, "ring")[0][1];
  const PackedSequence sequence = Text::parse(small_text(40), 1).sequence(2, 150);
  REQUIRE(sequence.documents.size() > 2);
  Model<double> model(small_shape());
  NaiveAttention<double> attention(small_shape(), sequence.documents);
  const std::vector<double> parameters(step.before.begin(), step.before.end());
  std::vector<double> gradients(parameters.size());
  const Range all{0, 150};
  const Batch batch = batch_of(sequence, std::span(&all, 1));
  const double loss = model.loss_and_gradients(parameters.data(), batch, attention, gradients.data()) * batch.gradient_scale;
  CHECK(step.loss == Approx(loss).epsilon(1e-6));
  CHECK(worst(step.gradients, {gradients.begin(), gradients.end()}) < 1e-5);
}

TEST_CASE("training lowers the loss of a sequence that it sees again and again") {
  const PackedSequence sequence = Text::parse(small_text(40), 1).sequence(1, 150);
  double first = 0, last = 0;
  run_loopback(2, [&](Transport& transport) {
    Trainer trainer(transport, small_settings("ring"));
    for (int step = 1; step <= 40; ++step) {
      const double loss = trainer.compute_gradients(sequence).loss;
      if (transport.rank() == 0) (step == 1 ? first : last) = loss;
      trainer.update(step);
    }
  });
  CHECK(first == Approx(std::log(128.0)).epsilon(0.02));  // it knows nothing
  CHECK(last < 0.8 * first);
}

TEST_CASE("sums over ranks are those of every rank's values, also of more than one piece, in the same bits everywhere") {
  constexpr std::size_t kValues = (1 << 16) + 3;
  std::vector<std::vector<float>> sums(3);
  run_loopback(3, [&](Transport& transport) {
    std::vector<float> values(kValues);
    for (std::size_t element = 0; element < kValues; ++element)
      values[element] = static_cast<float>(element % 1000 * (transport.rank() + 1));
    gyre::transformer::add_over_ranks(transport, values);
    sums[transport.rank()] = values;
  });
  CHECK(sums[0][kValues - 1] == static_cast<float>((kValues - 1) % 1000 * 6));
  CHECK(sums[0][999] == 999 * 6);
  CHECK(sums[1] == sums[0]);
  CHECK(sums[2] == sums[0]);
}

TEST_CASE("a wrong shape of the model is refused by name") {
  run_loopback(1, [](Transport& transport) {
    Settings settings = small_settings("ring");
    settings.model.key_heads = 3;
    CHECK(says(refusal_of([&] { Trainer(transport, settings); }), "3 key/value heads do not divide 4 query heads"));
  });
}
