// ALiBi, learned sinks and dropout over several ranks: what a pair gets depends on where it stands, and on nothing else.
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "kernels/dropout.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

std::vector<StrategyChoice> strategies() {
  return {Strategy::ring,    Strategy::bidirectional_ring, Strategy::all_gather,
          Strategy::ulysses, Strategy::pass_query,         Strategy::tree};
}

Job job_of(const char* mask, Type type) {
  Job job;
  job.problem.query_tokens = 90, job.problem.key_tokens = 120;
  job.problem.query_heads = 6, job.problem.key_heads = 2;
  job.problem.head_dim = 8, job.problem.value_dim = 5;
  job.problem.type = type;
  job.problem.bias = PositionBias::alibi;
  job.problem.sinks = SinkLogits::learned;
  job.problem.dropout = {.probability = 0.2, .seed = 11};
  job.problem.mask = Mask::parse(mask);
  job.options.unit_tokens = 7;
  return job;
}

/// Forward and backward; of every rank its gradients of sinks.
std::vector<std::vector<float>> grad_sinks_of(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, int ranks,
                                              Gradients& gradients) {
  std::vector<std::vector<float>> sinks(ranks);
  run_loopback(ranks, [&](Transport& transport) {
    const GradientRows rows(job, tensors, grad_out, transport);
    Attention attention(transport, job.problem, job.options);
    attention.forward(rows.forward());
    attention.backward(rows.backward());
    rows.write_to(gradients);
    const float* const mine = rows.backward().grad_sinks;
    sinks[transport.rank()].assign(mine, mine + job.problem.query_heads);
  });
  return sinks;
}

}  // namespace

TEST_CASE("ALiBi, sinks and dropout together are within the bounds on 1, 2, 3, 5 and 8 ranks, by every strategy") {
  for (const char* mask : {"causal", "window(9) | sinks(3)"}) {
    for (const Type type : {Type::f32, Type::bf16}) {
      Job job = job_of(mask, type);
      const Tensors tensors = random_tensors(job.problem, 5, 1.5);
      for (const StrategyChoice& strategy : strategies()) {
        job.options.strategy = strategy;
        for (const int ranks : {1, 2, 3, 5, 8}) {
          INFO(mask << ", " << to_string(type) << ", " << to_string(strategy) << ", " << ranks << " ranks");
          const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, ranks, 2));
          CHECK(errors.share_of_bound <= 1);
        }
      }
    }
  }
}

// Channel c of the values is key c alone, so that of an output is its weight.
TEST_CASE("whatever ranks, strategy, placement and units: the same pairs are dropped") {
  Job job = job_of("full", Type::f32);
  Problem& p = job.problem;
  p.query_tokens = 70, p.key_tokens = p.value_dim = 60, p.query_offset = -5;
  p.bias = PositionBias::none, p.sinks = SinkLogits::none;
  Tensors tensors = random_tensors(p, 6, 1);
  for (std::size_t i = 0; i < tensors.values.size(); ++i)
    tensors.values[i] = static_cast<std::int64_t>(i) / (p.key_heads * p.value_dim) == static_cast<std::int64_t>(i) % p.value_dim;
  for (const StrategyChoice& strategy : strategies()) {
    for (const int ranks : {1, 3, 8}) {
      for (const char* partition : {"contiguous", "striped(3)"}) {
        job.options.strategy = strategy, job.options.unit_tokens = 4 + ranks;
        job.options.partition = PartitionChoice::parse(partition);
        const Result result = run_loopback_job(job, tensors, ranks, 2);
        bool right = true;
        for (std::size_t i = 0; i < result.out.size(); ++i) {
          const auto row = static_cast<std::int64_t>(i) / p.value_dim;
          const double factor = dropout_factor(*p.dropout, row / p.query_heads - 5, static_cast<std::int64_t>(i) % p.value_dim,
                                               static_cast<int>(row % p.query_heads));
          right = right && (result.out[i] == 0) == (factor == 0);
        }
        INFO(to_string(strategy) << ", " << ranks << " ranks, " << partition);
        CHECK(right);
      }
    }
  }
}

TEST_CASE(
    "gradients with ALiBi, sinks and dropout are within the bounds on 1, 2, 3, 5 and 8 ranks; those of sinks are everywhere the "
    "same") {
  for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
    Job job = job_of("causal", Type::f32);
    job.options.backward = way;
    const Tensors tensors = random_tensors(job.problem, 7, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 8, 1.5);
    for (const int ranks : {1, 2, 3, 5, 8}) {
      INFO(to_string(way) << " travel, " << ranks << " ranks");
      Gradients gradients(job.problem);
      const std::vector<std::vector<float>> sinks = grad_sinks_of(job, tensors, grad_out, ranks, gradients);
      for (const std::vector<float>& of_rank : sinks) CHECK(of_rank == sinks[0]);
      CHECK(compare(job.problem, tensors, grad_out, gradients).share_of_bound <= 1);
      Gradients again(job.problem);
      grad_sinks_of(job, tensors, grad_out, ranks, again);
      CHECK(again == gradients);
    }
  }
}

TEST_CASE("sinks that are missing, not wanted or not finite are refused on every rank") {
  const auto refusal = [](SinkLogits wanted, auto&& change) {
    std::vector<std::string> heard(3);
    run_loopback(3, [&](Transport& transport) {
      Job job = job_of("full", Type::f32);
      job.problem.sinks = wanted;
      job.options.backward = Backward::keys_travel;
      const GradientRows rows(job, random_tensors(job.problem, 1, 1), random_grad_out(job.problem, 1, 1), transport);
      Attention attention(transport, job.problem, job.options);
      Operands forward = rows.forward();
      GradientOperands backward = rows.backward();
      if (transport.rank() == 1) change(forward, backward);
      try {
        attention.forward(forward);
        attention.backward(backward);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard[0] == heard[1]);
    CHECK(heard[2] == heard[1]);
    return heard[0];
  };
  static const float kLogits[6] = {0, 0, 0, HUGE_VALF, 0, 0};
  CHECK(refusal(SinkLogits::learned, [](Operands& o, GradientOperands&) { o.sinks = nullptr; }).starts_with("sinks is null"));
  CHECK(refusal(SinkLogits::none, [](Operands& o, GradientOperands&) { o.sinks = kLogits; }).starts_with("sinks are given"));
  CHECK(refusal(SinkLogits::learned, [](Operands& o, GradientOperands&) { o.sinks = kLogits; }).starts_with("the sink of head 3"));
  CHECK(refusal(SinkLogits::learned, [](Operands&, GradientOperands& o) {
          o.grad_sinks = nullptr;
        }).starts_with("grad_sinks is null"));
}

TEST_CASE("ranks that disagree about bias, sinks or dropout all hear which it is") {
  const auto heard_of = [](auto&& change) {
    std::vector<std::string> heard(2);
    run_loopback(2, [&](Transport& transport) {
      Job job = job_of("full", Type::f32);
      if (transport.rank() == 1) change(job.problem);
      try {
        Attention(transport, job.problem, job.options);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard[0] == heard[1]);
    return heard[0];
  };
  CHECK(heard_of([](Problem& p) { p.bias = PositionBias::none; }).find("position bias") != std::string::npos);
  CHECK(heard_of([](Problem& p) { p.sinks = SinkLogits::none; }).find("sink logits") != std::string::npos);
  CHECK(heard_of([](Problem& p) { p.dropout->seed = 12; }).find("seed 12") != std::string::npos);
}
