// Random tensors: the same on any number of ranks, and normally distributed.
#include "launch/synthetic.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"

using namespace gyre;

namespace {

std::vector<float> fill(std::uint64_t seed, Tensor tensor, std::vector<Range> ranges, int heads, int dim, int threads = 1) {
  std::int64_t tokens = 0;
  for (const Range range : ranges) tokens += range.size();
  std::vector<float> values(static_cast<std::size_t>(tokens * heads * dim), NAN);
  Team team(threads);
  fill_synthetic(seed, tensor, ranges, heads, dim, team, values.data());
  return values;
}

}  // namespace

TEST_CASE("a shard of a synthetic tensor equals the same rows of the whole, on any number of threads") {
  const std::vector<float> whole = fill(7, Tensor::key, {{0, 1000}}, 3, 5);
  const std::vector<float> shard = fill(7, Tensor::key, {{1, 2}, {300, 900}}, 3, 5, 3);
  std::vector<float> expected(whole.begin() + 15, whole.begin() + 30);
  expected.insert(expected.end(), whole.begin() + 300 * 15, whole.begin() + 900 * 15);
  CHECK(shard == expected);
}

TEST_CASE("seed, tensor, token and head each change a synthetic row") {
  const std::vector<float> row = fill(7, Tensor::query, {{4, 5}}, 1, 8);
  CHECK(row != fill(8, Tensor::query, {{4, 5}}, 1, 8));
  CHECK(row != fill(7, Tensor::key, {{4, 5}}, 1, 8));
  CHECK(row != fill(7, Tensor::query, {{5, 6}}, 1, 8));
  const std::vector<float> two_heads = fill(7, Tensor::query, {{4, 5}}, 2, 8);
  CHECK(std::vector<float>(two_heads.begin() + 8, two_heads.end()) != row);
  CHECK(std::vector<float>(two_heads.begin(), two_heads.begin() + 8) == row);
}

TEST_CASE("synthetic values are normal: mean 0, deviation 1, kurtosis 3, neighbours uncorrelated") {
  const std::vector<float> values = fill(1, Tensor::value, {{0, 20000}}, 2, 10, 2);
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0, fourths = 0, channels = 0, tokens = 0;
  for (std::size_t k = 20; k < values.size(); ++k) {
    const double x = values[k];
    sum += x, squares += x * x, fourths += x * x * x * x, channels += x * values[k - 1], tokens += x * values[k - 20];
  }
  CHECK(std::abs(sum / count) < 0.006);  // four standard errors of 400,000 values
  CHECK(std::abs(squares / count - 1) < 0.009);
  CHECK(std::abs(fourths / count - 3) < 0.06);
  CHECK(std::abs(channels / count) < 0.006);
  CHECK(std::abs(tokens / count) < 0.006);
}
