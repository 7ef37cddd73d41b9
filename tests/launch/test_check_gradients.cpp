// The check of gradients: right ones pass on any number of ranks, and one that is wrong is found and named.
#include "launch/check_gradients.hpp"

#include <functional>
#include <limits>

#include "comm/loopback_transport.hpp"
#include "launch/check.hpp"
#include "launch/synthetic.hpp"
#include "runtime/attention.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

/// One rank's gradients, which tests spoil before they are checked.
struct Gradients {
  std::vector<float> queries, keys, values;
};
using Spoil = std::function<void(int rank, Gradients& gradients)>;

Problem make_problem() {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 90;
  problem.query_heads = 4, problem.key_heads = 2;
  problem.head_dim = 6, problem.value_dim = 3;
  problem.mask = Mask::causal();
  return problem;
}

/// Random rows of a rank through forward and backward, and what the check says of every token.
GradientCheck check(int ranks, const Spoil& spoil) {
  const Problem problem = make_problem();
  std::vector<GradientCheck> results(static_cast<std::size_t>(ranks));
  run_loopback(ranks, [&](Transport& transport) {
    Options options;
    options.backward = Backward::automatic;
    options.unit_tokens = 8;
    Attention attention(transport, problem, options);
    Team team(1);
    const auto rows = [&](Tensor tensor, int heads, int dim) {
      std::int64_t tokens = 0;
      for (const Range range : attention.query_rows()) tokens += range.size();
      std::vector<float> values(static_cast<std::size_t>(tokens * heads * dim));
      fill_synthetic(5, tensor, attention.query_rows(), heads, dim, team, values.data());
      return values;
    };
    const auto queries = rows(Tensor::query, 4, 6), keys = rows(Tensor::key, 2, 6), values = rows(Tensor::value, 2, 3);
    const auto grad_out = rows(Tensor::grad_out, 4, 3);
    const auto tokens = static_cast<std::int64_t>(keys.size() / 12);
    std::vector<float> out(grad_out.size()), lse(static_cast<std::size_t>(tokens * 4));
    Gradients gradients{.queries = queries, .keys = keys, .values = values};
    attention.forward({.queries = {queries.data(), tokens, 4, 6},
                       .keys = {keys.data(), tokens, 2, 6},
                       .values = {values.data(), tokens, 2, 3},
                       .out = {out.data(), tokens, 4, 3},
                       .lse = lse.data()});
    const GradientOperands operands{.queries = {queries.data(), tokens, 4, 6},
                                    .keys = {keys.data(), tokens, 2, 6},
                                    .values = {values.data(), tokens, 2, 3},
                                    .out = {out.data(), tokens, 4, 3},
                                    .lse = lse.data(),
                                    .grad_out = {grad_out.data(), tokens, 4, 3},
                                    .grad_queries = {gradients.queries.data(), tokens, 4, 6},
                                    .grad_keys = {gradients.keys.data(), tokens, 2, 6},
                                    .grad_values = {gradients.values.data(), tokens, 2, 3}};
    attention.backward(operands);
    spoil(transport.rank(), gradients);
    const auto all = sample_tokens(90, 90, 1);
    results[static_cast<std::size_t>(transport.rank())] =
        check_gradients(transport, team, problem, attention.query_rows(), attention.key_rows(), operands, all, all);
  });
  for (const GradientCheck& result : results) CHECK(result.failure == results.front().failure);
  return results.front();
}

}  // namespace

TEST_CASE("right gradients pass their check on any number of ranks, close to what float32 can hold") {
  for (const int ranks : {1, 2, 5}) {
    const GradientCheck result = check(ranks, [](int, Gradients&) {});
    CHECK(result.failure.empty());
    CHECK(result.rows == 180);
    for (const double error : {result.query_error, result.key_error, result.value_error}) {
      CHECK(error > 0);
      CHECK(error < 4e-6);
    }
  }
}

TEST_CASE("one gradient that is wrong, on any rank, fails the check by the name of its tensor") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto failure = [](const Spoil& spoil) { return check(3, spoil).failure; };
  CHECK_THAT(failure([](int rank, Gradients& g) { rank == 2 ? g.queries.back() += 0.01F : 0; }), Catch::Contains("of queries"));
  CHECK_THAT(failure([](int rank, Gradients& g) { rank == 1 ? g.keys.front() += 0.01F : 0; }), Catch::Contains("of keys"));
  CHECK_THAT(failure([&](int rank, Gradients& g) { rank == 0 ? g.values[4] = kNan : 0; }), Catch::Contains("of values"));
}
