// Rotary positions over several ranks: where a token stands in the sequence turns it, and not where its row lies.
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/schedules/schedules.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"
#include "support/relative_positions.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

Job job_of(const Rotary& rotary, const char* mask) {
  Job job;
  job.problem.query_tokens = 90, job.problem.key_tokens = 120;
  job.problem.query_heads = 6, job.problem.key_heads = 2;
  job.problem.head_dim = 12, job.problem.value_dim = 5;
  job.problem.rotary = rotary;
  job.problem.mask = Mask::parse(mask);
  job.options.unit_tokens = 7;
  return job;
}

std::int64_t apart(std::int64_t query, std::int64_t key) {
  return query - key;
}

const Rotary kRotaries[] = {
    {.base = 100},
    {.base = 100, .layout = RotaryLayout::interleaved, .dims = 6},
    {.scaling = RotaryScaling::linear, .scale = 3},
    {.layout = RotaryLayout::interleaved, .scaling = RotaryScaling::ntk, .scale = 4},
    {.base = 50, .scaling = RotaryScaling::yarn, .scale = 4, .original_tokens = 32},
};

Gradients gradients_of(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, int ranks) {
  Gradients gradients(job.problem);
  run_loopback(
      ranks, [&](Transport& transport) { run_rank(transport, job, tensors, grad_out, gradients); }, 2);
  return gradients;
}

}  // namespace

TEST_CASE("attention with rotary positions is what relative positions alone give, by every strategy and placement") {
  for (const Rotary& rotary : kRotaries) {
    for (const char* mask : {"causal", "documents(50,70) | window(9,4)"}) {
      Job job = job_of(rotary, mask);
      const Tensors tensors = random_tensors(job.problem, 5, 1.5);
      const NaiveResult expected = naive_attention(job.problem, tensors, apart);
      const char* kPartitions[] = {"contiguous", "zigzag", "striped(5)", "balanced"};
      int next = 0;
      for (const StrategyChoice strategy : {Strategy::ring, Strategy::bidirectional_ring, Strategy::all_gather, Strategy::ulysses,
                                            Strategy::pass_query, Strategy::tree}) {
        for (const int ranks : {1, 2, 3, 5, 8}) {
          job.options.strategy = strategy;
          job.options.partition = PartitionChoice::parse(kPartitions[next++ % 4]);
          INFO(to_string(rotary) << ", " << mask << ", " << to_string(strategy) << ", " << ranks << " ranks");
          const Result result = run_loopback_job(job, tensors, ranks, 2);
          CHECK(relative_error(result.out, expected.out) < 5e-6);
          CHECK(relative_error(result.lse, expected.lse) < 5e-6);
        }
      }
    }
  }
}

TEST_CASE("gradients with rotary positions are those of relative positions alone, whatever travels") {
  for (const Rotary& rotary : kRotaries) {
    Job job = job_of(rotary, "causal");
    job.problem.softcap = 7;
    const Tensors tensors = random_tensors(job.problem, 7, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 8, 1.5);
    const NaiveResult expected = naive_attention(job.problem, tensors, apart, grad_out);
    for (const StrategyChoice strategy : {Strategy::ring, Strategy::bidirectional_ring, Strategy::all_gather, Strategy::ulysses}) {
      for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
        if (!can_go_backward(strategy.kind, way)) continue;
        for (const int ranks : {1, 2, 3, 5, 8}) {
          job.options.strategy = strategy, job.options.backward = way;
          INFO(to_string(rotary) << ", " << to_string(strategy) << ", " << to_string(way) << " travel, " << ranks << " ranks");
          const Gradients found = gradients_of(job, tensors, grad_out, ranks);
          CHECK(relative_error(found.queries, expected.queries) < 5e-6);
          CHECK(relative_error(found.keys, expected.keys) < 5e-6);
          CHECK(relative_error(found.values, expected.values) < 5e-6);
        }
      }
    }
  }
}

TEST_CASE("gradients that relative positions give are what finite differences of their outputs are") {
  for (const Rotary& rotary : kRotaries) {
    Job job = job_of(rotary, "causal");
    Problem& p = job.problem;
    p.query_tokens = 5, p.key_tokens = 6, p.query_heads = 2, p.key_heads = 1, p.softcap = 3;
    Tensors tensors = random_tensors(p, 3, 1);
    const std::vector<float> grad_out = random_grad_out(p, 4, 1);
    const NaiveResult found = naive_attention(p, tensors, apart, grad_out);
    const auto loss = [&] {
      const NaiveResult result = naive_attention(p, tensors, apart);
      double sum = 0;
      for (std::size_t i = 0; i < grad_out.size(); ++i) sum += static_cast<double>(grad_out[i]) * result.out[i];
      return sum;
    };
    const auto check = [&](std::vector<float>& tensor, const std::vector<double>& gradient) {
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        const float before = tensor[i], more = before + 0x1p-10F, less = before - 0x1p-10F;
        tensor[i] = more;
        const double above = loss();
        tensor[i] = less;
        const double below = loss();
        tensor[i] = before;
        CHECK(std::abs((above - below) / (static_cast<double>(more) - static_cast<double>(less)) - gradient[i]) < 1e-5);
      }
    };
    check(tensors.queries, found.queries), check(tensors.keys, found.keys);
  }
}

TEST_CASE("ranks that disagree about rotary positions all hear it, and wrong ones are refused") {
  const auto heard_of = [](auto&& change) {
    std::vector<std::string> heard(2);
    run_loopback(2, [&](Transport& transport) {
      Job job = job_of({}, "full");
      if (transport.rank() == 1) change(*job.problem.rotary);
      try {
        Attention(transport, job.problem, job.options);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard[0] == heard[1]);
    return heard[0];
  };
  CHECK(heard_of([](Rotary& r) { r.layout = RotaryLayout::interleaved; }).find("10000, interleaved, all dims") !=
        std::string::npos);
  CHECK(heard_of([](Rotary& r) { r.base = 500000; }).find("rotary positions") != std::string::npos);
  CHECK(heard_of([](Rotary& r) { r.dims = 13; }).find("13 dims") != std::string::npos);
}
