// The check of a result: right results pass on any number of ranks, and a wrong one is found, wherever it is, and named.
#include "launch/check.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <set>

#include "comm/loopback_transport.hpp"
#include "kernels/reference.hpp"
#include "launch/synthetic.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

constexpr std::int64_t kQueries = 37, kKeys = 41;

Problem make_problem() {
  Problem problem;
  problem.query_tokens = kQueries, problem.key_tokens = kKeys;
  problem.query_heads = 4, problem.key_heads = 2;
  problem.head_dim = 6, problem.value_dim = 3;
  problem.query_offset = -2;  // the first two queries see nothing
  problem.mask = Mask::causal();
  return problem;
}

/// A whole result in float32, rounded from the reference; tests spoil it.
struct Solved {
  Problem problem = make_problem();
  std::vector<float> queries, keys, values, out, lse;

  Solved() {
    Team team(1);
    const Range all_queries[] = {{0, kQueries}}, all_keys[] = {{0, kKeys}};
    queries.resize(kQueries * 4 * 6), keys.resize(kKeys * 2 * 6), values.resize(kKeys * 2 * 3);
    fill_synthetic(3, Tensor::query, all_queries, 4, 6, team, queries.data());
    fill_synthetic(3, Tensor::key, all_keys, 2, 6, team, keys.data());
    fill_synthetic(3, Tensor::value, all_keys, 2, 3, team, values.data());
    for (std::int64_t row = 0; row < kQueries * 4; ++row) {
      const ReferencePartial partial =
          reference_partial(queries.data() + row * 6, row / 4 - 2, Rows<const float>(keys.data(), kKeys, 2, 6),
                            Rows<const float>(values.data(), kKeys, 2, 3), static_cast<int>(row % 4 / 2), 0, problem.score_rule(),
                            problem.mask.bands());
      for (int channel = 0; channel < 3; ++channel) out.push_back(static_cast<float>(partial.out(channel)));
      lse.push_back(static_cast<float>(partial.lse()));
    }
  }
  float& out_of(std::int64_t token, int head, int channel) {
    return out[static_cast<std::size_t>((token * 4 + head) * 3 + channel)];
  }
  float& lse_of(std::int64_t token, int head) { return lse[static_cast<std::size_t>(token * 4 + head)]; }
};

/// Every rank's tokens: those that are its rank modulo the ranks in chunks of five, so that a rank has several ranges.
std::vector<Range> rows_of_rank(std::int64_t tokens, int rank, int ranks) {
  std::vector<Range> rows;
  for (std::int64_t begin = 5 * rank; begin < tokens; begin += 5 * ranks) rows.push_back({begin, std::min(begin + 5, tokens)});
  return rows;
}

std::vector<float> take(const std::vector<float>& whole, const std::vector<Range>& rows, std::int64_t row_floats) {
  std::vector<float> part;
  for (const Range range : rows)
    part.insert(part.end(), whole.begin() + range.begin * row_floats, whole.begin() + range.end * row_floats);
  return part;
}

CheckResult check(const Solved& solved, int ranks, std::vector<std::int64_t> sample) {
  std::vector<CheckResult> results(static_cast<std::size_t>(ranks));
  run_loopback(ranks, [&](Transport& transport) {
    const auto query_rows = rows_of_rank(kQueries, transport.rank(), ranks),
               key_rows = rows_of_rank(kKeys, transport.rank(), ranks);
    std::vector<float> queries = take(solved.queries, query_rows, 24), keys = take(solved.keys, key_rows, 12);
    std::vector<float> values = take(solved.values, key_rows, 6), out = take(solved.out, query_rows, 12);
    std::vector<float> lse = take(solved.lse, query_rows, 4);
    const auto query_tokens = static_cast<std::int64_t>(lse.size()) / 4, key_tokens = static_cast<std::int64_t>(keys.size()) / 12;
    const Operands operands{.queries = {queries.data(), query_tokens, 4, 6},
                            .keys = {keys.data(), key_tokens, 2, 6},
                            .values = {values.data(), key_tokens, 2, 3},
                            .out = {out.data(), query_tokens, 4, 3},
                            .lse = lse.data()};
    Team team(1 + transport.rank() % 2);
    results[static_cast<std::size_t>(transport.rank())] =
        check_rows(transport, team, solved.problem, query_rows, key_rows, operands, sample);
  });
  for (const CheckResult& result : results) {
    CHECK(result.failure == results[0].failure);
    CHECK(result.share_of_bound == results[0].share_of_bound);
  }
  return results[0];
}

const std::vector<std::int64_t> kEveryToken = sample_tokens(kQueries, kQueries, 1);

}  // namespace

TEST_CASE("a result that is right but for rounding passes on any number of ranks, also where ranks have no rows") {
  const Solved solved;
  for (const int ranks : {1, 2, 3, 5, 12}) {
    const CheckResult result = check(solved, ranks, kEveryToken);
    CHECK(result.failure.empty());
    CHECK(result.rows == kQueries);
    CHECK(result.share_of_bound > 0);
    CHECK(result.share_of_bound < 0.5);
    CHECK(result.out_error < 1e-7);
  }
}

TEST_CASE("a single output that is wrong is found and named") {
  Solved solved;
  solved.out_of(20, 3, 1) += 1e-4f;
  const CheckResult result = check(solved, 3, kEveryToken);
  CHECK(result.failure.starts_with("token 20, head 3, channel 1 is "));
  CHECK(result.failure.find(", expected ") != std::string::npos);
  CHECK(result.failure.find(" within ") != std::string::npos);
  CHECK(result.share_of_bound > 1);
  CHECK(check(solved, 3, {0, 19, 21, 36}).failure.empty());
}

TEST_CASE("an error of half the bound passes and one of nearly twice the bound does not") {
  constexpr float kLarge = 0.01f;
  const auto check_with_error = [](float error) {
    Solved solved;
    solved.out_of(20, 3, 1) += error;
    return check(solved, 1, {0, 20});
  };
  const auto bound = static_cast<float>(kLarge / check_with_error(kLarge).share_of_bound);
  CHECK(check_with_error(0.5f * bound).failure.empty());
  CHECK_FALSE(check_with_error(1.8f * bound).failure.empty());
}

TEST_CASE("a wrong log-sum-exp, a NaN, an infinity and a zero where minus infinity belongs are found") {
  const auto spoiled = [](const std::function<void(Solved&)>& spoil) {
    Solved solved;
    spoil(solved);
    const CheckResult result = check(solved, 2, kEveryToken);
    CHECK(result.share_of_bound > 1);
    return result.failure;
  };
  CHECK(spoiled([](Solved& s) { s.lse_of(36, 0) *= 1.0001f; }).starts_with("token 36, head 0, log-sum-exp is "));
  CHECK(spoiled([](Solved& s) { s.out_of(9, 2, 0) = NAN; }).starts_with("token 9, head 2, channel 0 is nan"));
  CHECK(spoiled([](Solved& s) { s.out_of(9, 2, 0) = INFINITY; }).starts_with("token 9, head 2, channel 0 is inf"));
  CHECK(spoiled([](Solved& s) { s.lse_of(1, 1) = 0; }).starts_with("token 1, head 1, log-sum-exp is 0, expected -inf"));
  CHECK(spoiled([](Solved& s) { s.lse_of(5, 1) = -INFINITY; }).starts_with("token 5, head 1, log-sum-exp is -inf"));
  CHECK(spoiled([](Solved& s) { s.out_of(0, 0, 0) = 0.5f; }).starts_with("token 0, head 0, channel 0 is 0.5, expected 0"));
}

TEST_CASE("samples hold first and last token, no token twice, in ascending order, and are the same for a seed") {
  for (const auto& [tokens, rows] : std::vector<std::pair<std::int64_t, std::int64_t>>{{100, 10}, {100, 2}, {100, 99}, {3, 2}}) {
    const auto sample = sample_tokens(tokens, rows, 5);
    CHECK(static_cast<std::int64_t>(sample.size()) == rows);
    CHECK(sample.front() == 0);
    CHECK(sample.back() == tokens - 1);
    CHECK(std::is_sorted(sample.begin(), sample.end()));
    CHECK(std::set(sample.begin(), sample.end()).size() == sample.size());
    CHECK(sample == sample_tokens(tokens, rows, 5));
  }
  CHECK(sample_tokens(1000, 10, 5) != sample_tokens(1000, 10, 6));
  CHECK(sample_tokens(3, 10, 1) == std::vector<std::int64_t>{0, 1, 2});
  CHECK(sample_tokens(0, 10, 1).empty());
  CHECK(sample_tokens(5, 1, 1) == std::vector<std::int64_t>{0});
}
