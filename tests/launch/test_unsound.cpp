// Results that are none: found wherever they lie, and rows that rightly saw nothing are not taken for them.
#include "launch/unsound.hpp"

#include <cmath>
#include <limits>

#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int kHeads = 3, kValueDim = 21;
constexpr std::int64_t kQueries = 5000;  // of 63 values each: pieces end inside every range below

/// A sound result of one rank. The first two queries lie before every key.
struct Result {
  Problem problem;
  std::vector<Range> tokens{{0, 2000}, {2600, 4800}, {4999, 5000}};
  std::vector<float> out, lse;

  Result() {
    problem.query_tokens = problem.key_tokens = kQueries;
    problem.query_heads = kHeads, problem.value_dim = kValueDim;
    problem.query_offset = -2;
    problem.mask = Mask::causal();
    std::size_t held = 0;
    for (const Range range : tokens) held += static_cast<std::size_t>(range.size());
    lse.assign(held * kHeads, -3.5F), out.assign(lse.size() * kValueDim, 3e38F);
    std::fill_n(lse.begin(), 2 * kHeads, -kInfinity);
  }
  std::size_t row(std::int64_t token, int head) const {
    std::int64_t before = 0;
    for (const Range range : tokens) {
      if (range.contains(token)) return static_cast<std::size_t>((before + token - range.begin) * kHeads + head);
      before += range.size();
    }
    throw std::logic_error("not a token of this rank");
  }
  float& out_of(std::int64_t token, int head, int channel) {
    return out[row(token, head) * kValueDim + static_cast<std::size_t>(channel)];
  }
  float& lse_of(std::int64_t token, int head) { return lse[row(token, head)]; }
  std::optional<Unsound> find(int threads = 1) const {
    Team team(threads);
    return find_unsound(team, problem, tokens, out.data(), lse.data());
  }
};

bool is(const std::optional<Unsound>& found, std::int64_t token, int head, int channel) {
  return found && found->token == token && found->head == head && found->channel == channel;
}

}  // namespace

TEST_CASE("a result without a flaw has none, also where rows saw nothing and sums reach the end of float32") {
  CHECK_FALSE(Result().find());
  CHECK_FALSE(Result().find(3));
  Result nothing;
  nothing.tokens.clear();
  CHECK_FALSE(nothing.find());
}

TEST_CASE("an output that is not finite is found wherever it lies, with any number of threads") {
  for (const float value : {kInfinity, -kInfinity, kNaN, -kNaN})
    for (const std::int64_t token : {0, 1, 346, 347, 1039, 1999, 2600, 3000, 4799, 4999})
      for (const int channel : {0, 15, 16, 20}) {
        Result result;
        result.out_of(token, 1, channel) = value;
        const auto found = result.find(1 + static_cast<int>(token) % 3);
        REQUIRE(is(found, token, 1, channel));
        CHECK((std::isnan(value) ? std::isnan(found->value) : found->value == value));
      }
}

TEST_CASE("a log-sum-exp is neither NaN nor plus infinity, and minus infinity only where the mask shows no key") {
  for (const float value : {kInfinity, kNaN, -kInfinity})
    for (const std::int64_t token : {2, 1999, 2600, 4999}) {
      Result result;
      result.lse_of(token, 2) = value;
      CHECK(is(result.find(2), token, 2, Unsound::kLogSumExp));
    }
  Result result;
  result.lse_of(0, 0) = kNaN;
  CHECK(is(result.find(), 0, 0, Unsound::kLogSumExp));
}

TEST_CASE("heads that see nothing by a table of their own are told from those that should have seen a key") {
  Result result;
  BlockTable table({.query_tokens = 5000, .key_tokens = 5000, .heads = kHeads, .rows = 1, .columns = 1});
  const std::uint8_t shown = 1, hidden = 0;
  table.show(0, 0, std::span(&shown, 1)), table.show(1, 0, std::span(&hidden, 1)), table.show(2, 0, std::span(&shown, 1));
  result.problem.mask = Mask::causal() & Mask::blocks(std::move(table), "b.npy");
  for (std::size_t row = 1; row < result.lse.size(); row += kHeads) result.lse[row] = -kInfinity;
  CHECK_FALSE(result.find(2));
  result.lse_of(2700, 2) = -kInfinity;
  CHECK(is(result.find(2), 2700, 2, Unsound::kLogSumExp));
}

TEST_CASE("the first of several flaws is named, on every rank the same, wherever it lies") {
  Result result;
  result.out_of(3000, 0, 4) = kNaN, result.out_of(2999, 2, 20) = kInfinity, result.lse_of(2999, 2) = kNaN;
  CHECK(is(result.find(2), 2999, 2, 20));
  run_loopback(3, [](Transport& transport) {
    CHECK_FALSE(first_of_ranks(transport, std::nullopt));
    const std::optional<Unsound> mine[] = {Unsound{7, 0, 0, 1}, std::nullopt, Unsound{6, 2, 3, 1}};
    CHECK(is(first_of_ranks(transport, mine[transport.rank()]), 6, 2, 3));
  });
}

TEST_CASE("what is told of a flaw is its place, the limits and a remedy, and NaN has no sign") {
  const std::string text = to_text(Unsound{5, 1, 2, -kNaN});
  CHECK(text.find("token 5, head 1, channel 2 of the output is nan; scores must stay below 1e30") != std::string::npos);
  CHECK(text.find("scale queries, keys or values down") != std::string::npos);
  CHECK(to_text(Unsound{5, 1, Unsound::kLogSumExp, -kInfinity}).find("a row that sees keys has a log-sum-exp of -inf") !=
        std::string::npos);
}
