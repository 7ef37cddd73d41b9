// The statistics of dropout's generator: of each row, column, head and seed, and of pairs that differ in one of them.
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/dropout.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

/// Where it is asked: a square of positions of a few heads and seeds.
struct Place {
  std::int64_t query = 0, key = 0;
  int head = 0;
  std::uint64_t seed = 0;
};

bool dropped(const Place& at, double probability) {
  return dropout_factor({.probability = probability, .seed = at.seed}, at.query, at.key, at.head) == 0;
}

/// How many standard deviations `count` of `trials` is from what is expected at this probability.
double deviations(double count, double trials, double probability) {
  return (count - trials * probability) / std::sqrt(trials * probability * (1 - probability));
}

/// The largest of so many draws from a normal distribution stays below this but once in ten thousand times.
double limit_of(double draws) {
  return std::sqrt(2 * std::log(draws * 1e4));
}

constexpr std::int64_t kSide = 1024;

/// Deviations of the rate over each of `groups` lines of kSide pairs.
void check_lines(const char* what, int groups, const std::function<Place(int group, std::int64_t index)>& place) {
  for (const double probability : {0.001, 0.1, 0.5, 0.9}) {
    double worst = 0, sum_of_squares = 0;
    const std::int64_t length = probability < 0.01 ? 64 * kSide : kSide;  // so that a normal distribution is near
    for (int group = 0; group < groups; ++group) {
      double count = 0;
      for (std::int64_t index = 0; index < length; ++index) count += dropped(place(group, index), probability);
      const double off = deviations(count, static_cast<double>(length), probability);
      worst = std::max(worst, std::abs(off)), sum_of_squares += off * off;
    }
    INFO(what << ", probability " << probability << ": worst " << worst << ", mean square " << sum_of_squares / groups);
    CHECK(worst < limit_of(groups));
    // Chi-squared: neither more even nor less even than coins. Its standard deviation is sqrt(2 / groups).
    CHECK(std::abs(sum_of_squares / groups - 1) < 4.5 * std::sqrt(2.0 / groups));
  }
}

/// Correlation of two places' decisions over a square of kSide by kSide / 4 pairs.
void check_uncorrelated(const char* what, const std::function<Place(const Place&)>& other) {
  constexpr double kProbability = 0.3;
  double both = 0, trials = 0;
  for (std::int64_t query = 0; query < kSide / 4; ++query) {
    for (std::int64_t key = 0; key < kSide; ++key) {
      const Place at{.query = query, .key = key, .head = 2, .seed = 7};
      both += dropped(at, kProbability) && dropped(other(at), kProbability);
      ++trials;
    }
  }
  const double off = deviations(both, trials, kProbability * kProbability);
  INFO(what << ": " << off << " standard deviations");
  CHECK(std::abs(off) < 4.5);
}

}  // namespace

TEST_CASE("each row, column, diagonal, head and seed drops its share of pairs, as coins would") {
  check_lines("rows", 256, [](int group, std::int64_t index) { return Place{.query = group, .key = index}; });
  check_lines("columns", 256, [](int group, std::int64_t index) { return Place{.query = index, .key = group}; });
  check_lines("diagonals", 256, [](int group, std::int64_t index) { return Place{.query = index, .key = index + group}; });
  check_lines("heads of a pair", 64,
              [](int group, std::int64_t index) { return Place{.query = group, .key = 5, .head = static_cast<int>(index)}; });
  check_lines("seeds of a pair", 64, [](int group, std::int64_t index) {
    return Place{.query = group, .key = group, .seed = static_cast<std::uint64_t>(index)};
  });
  check_lines("rows before the first key, keys far away", 64,
              [](int group, std::int64_t index) { return Place{.query = -group, .key = (std::int64_t{1} << 30) + 64 * index}; });
}

TEST_CASE("what is dropped at one place says nothing of its neighbours, of other heads or of other seeds") {
  const auto moved = [](auto&& move) {
    return [move](Place at) {
      move(at);
      return at;
    };
  };
  for (const std::int64_t step : {1, 2, 16, 64, 512, 65536}) {
    INFO("step " << step);
    check_uncorrelated("keys", moved([step](Place& at) { at.key += step; }));
    check_uncorrelated("queries", moved([step](Place& at) { at.query += step; }));
    check_uncorrelated("both", moved([step](Place& at) { at.query += step, at.key += step; }));
    check_uncorrelated("against each other", moved([step](Place& at) { at.query += step, at.key -= step; }));
    check_uncorrelated("heads", moved([step](Place& at) { at.head += static_cast<int>(step); }));
    check_uncorrelated("seeds", moved([step](Place& at) { at.seed += static_cast<std::uint64_t>(step); }));
    check_uncorrelated("bits of seeds", moved([step](Place& at) { at.seed ^= static_cast<std::uint64_t>(step) << 40; }));
  }
  check_uncorrelated("transposed", moved([](Place& at) { std::swap(at.query, at.key); }));
}

TEST_CASE("runs of dropped neighbours are as long as coins make them") {
  constexpr double kProbability = 0.5;
  constexpr int kBits = 8;
  std::vector<double> counts(1 << kBits);
  double words = 0;
  for (std::int64_t query = 0; query < 512; ++query) {
    for (std::int64_t key = 0; key < kSide; key += kBits) {
      unsigned word = 0;
      for (int bit = 0; bit < kBits; ++bit) {
        word |= unsigned{dropped({.query = query, .key = key + bit, .seed = 3}, kProbability)} << bit;
      }
      ++counts[word], ++words;
    }
  }
  double chi_squared = 0;
  for (const double count : counts) chi_squared += std::pow(count - words / 256, 2) / (words / 256);
  INFO("chi-squared " << chi_squared << " of 255 degrees of freedom");
  CHECK(std::abs(chi_squared - 255) < 4.5 * std::sqrt(2.0 * 255));
}

TEST_CASE("nothing is dropped with probability 0, and kept weights are divided by what is left") {
  bool none = true;
  for (std::int64_t key = 0; key < 100'000; ++key) none = none && dropout_factor({.probability = 0, .seed = 1}, 3, key, 0) == 1;
  CHECK(none);
  double sum = 0;
  for (std::int64_t key = 0; key < 100'000; ++key) sum += dropout_factor({.probability = 0.75, .seed = 1}, 3, key, 0);
  CHECK(std::abs(sum / 100'000 - 1) < 4.5 * std::sqrt(3.0 / 100'000));
}

}  // namespace gyre::testing
