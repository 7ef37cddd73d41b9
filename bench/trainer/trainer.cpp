#include "bench/trainer/trainer.hpp"

#include <algorithm>
#include <chrono>

#include "bench/trainer/gyre_attention.hpp"
#include "bench/transformer/reduction.hpp"

namespace gyre::trainer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Trainer::Trainer(Transport& transport, const Settings& settings)
    : transport_(transport),
      settings_(settings),
      model_(settings.model),
      parameters_(initial_parameters<float>(settings.model, model_.layout(), settings.seed)),
      gradients_(model_.layout().size()),
      optimizer_(model_.layout(), settings.optimizer) {}

StepResult Trainer::compute_gradients(const PackedSequence& sequence) {
  StepResult result;
  const auto start = Clock::now();
  GyreAttention attention(transport_, settings_.model, sequence.documents, settings_.attention);
  result.seconds.preparing = seconds_since(start);

  std::fill(gradients_.begin(), gradients_.end(), 0.0F);
  const Batch batch = batch_of(sequence, attention.rows());
  const double loss = model_.loss_and_gradients(parameters_.data(), batch, attention, gradients_.data());

  const auto before_reducing = Clock::now();
  result.loss = sum_over_ranks(transport_, loss) * batch.gradient_scale;
  transformer::add_over_ranks(transport_, gradients_);
  result.seconds.reducing = seconds_since(before_reducing);
  result.seconds.forward = attention.forward_seconds();
  result.seconds.backward = attention.backward_seconds();
  result.seconds.total = seconds_since(start);
  return result;
}

}  // namespace gyre::trainer
