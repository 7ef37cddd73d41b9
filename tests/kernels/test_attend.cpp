// Attend against the float64 reference.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <thread>

#include "kernels/attend_case.hpp"
#include "kernels/bounds.hpp"
#include "kernels/dropout.hpp"
#include "kernels/pack.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

void check(const CaseShape& shape) {
  AttendCase attend(shape);
  const std::vector<ReferencePartial> reference = references(attend);
  for (const KernelTable* kernels : available_kernels()) {
    const Worst worst = compare(attend, reference, *kernels, 1 + static_cast<int>(shape.seed % 2));
    INFO(kernels->name << ": " << shape.text());
    CHECK(worst.out_share <= share_limit(*kernels));
    CHECK(worst.lse_share <= share_limit(*kernels));
    if (shape.size == 1.5) {
      // With ALiBi scores, and log-sum-exp, are as large as the distance to the nearest key.
      CHECK(worst.largest_error <= (rounds_weights(shape, *kernels) ? 5e-3 : shape.alibi ? 4e-6 : 2e-6) * worst.largest_out);
      CHECK(worst.lse_error <= (shape.alibi ? 3e-5 : 1e-5));
    }
  }
}

}  // namespace

TEST_CASE("every instruction set stays within the bounds on random shapes and masks") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) check(random_shape(seed));
}

TEST_CASE("every instruction set stays within the bounds on more random shapes and masks", "[slow]") {
  for (std::uint64_t seed = 61; seed <= 300; ++seed) check(random_shape(seed));
}

TEST_CASE("scores of two hundred and more neither overflow nor leave the bounds") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CaseShape shape = random_shape(1000 + seed);
    shape.size = 8;  // scores of standard deviation 64
    check(shape);
  }
}

namespace {

void check_outliers(std::uint64_t first_seed, std::uint64_t last_seed) {
  for (const int dim : {64, 128}) {
    for (std::uint64_t seed = first_seed; seed <= last_seed; ++seed) {
      check({.head_dim = dim,
             .group = 4,
             .query_tokens = 512,
             .key_tokens = 512,
             .mask = "causal",
             .size = 1,
             .outliers = 0.02,
             .seed = seed});
    }
  }
}

}  // namespace

TEST_CASE("inputs with outliers stay within the bounds") {
  check_outliers(1, 2);
}

TEST_CASE("inputs with outliers stay within the bounds, whatever is drawn", "[slow]") {
  check_outliers(3, 12);
}

TEST_CASE("each head dim works, each value dim works, up to the largest, in every type") {
  int next = 0;
  for (const int dim : {1, 2, 7, 8, 9, 15, 16, 17, 31, 127, 128, 129, 255, 257, 576}) {
    CaseShape keys{.head_dim = dim, .value_dim = 24, .query_tokens = 20, .key_tokens = 70, .mask = "causal", .seed = 7};
    CaseShape values{.head_dim = 24, .value_dim = dim, .query_tokens = 20, .key_tokens = 70, .mask = "causal", .seed = 8};
    keys.type = values.type = std::array{Type::f32, Type::bf16, Type::f16}[next++ % 3];
    check(keys);
    check(values);
  }
}

TEST_CASE("units of every length up to 130 work for queries and keys") {
  for (std::int64_t length = 1; length <= 130; ++length) {
    check({.head_dim = 8,
           .value_dim = 8,
           .query_tokens = 131,
           .key_tokens = 131,
           .query_unit = length,
           .key_unit = length,
           .mask = "causal",
           .seed = static_cast<std::uint64_t>(length)});
  }
}

TEST_CASE("long units stay within the bounds") {
  for (const std::int64_t unit : {512, 2048}) {
    check({.head_dim = 64,
           .value_dim = 64,
           .query_tokens = 50,
           .key_tokens = 2100,
           .query_unit = 512,
           .key_unit = unit,
           .query_offset = 2050,
           .mask = "causal"});
  }
}

TEST_CASE("a row that sees no key ends as zero and minus infinity") {
  for (const KernelTable* kernels : available_kernels()) {
    for (const std::int64_t offset : {-1000, -20}) {
      AttendCase attend({.query_tokens = 40, .key_tokens = 64, .query_offset = offset, .mask = "causal"});
      attend.run(*kernels);
      const Finished finished = attend.finish();
      const std::int64_t blind = std::min<std::int64_t>(40, -offset);
      INFO(kernels->name);
      CHECK(std::all_of(finished.out.begin(), finished.out.begin() + blind * 64, [](float x) { return x == 0; }));
      CHECK(std::all_of(finished.lse.begin(), finished.lse.begin() + blind,
                        [](float x) { return x == -std::numeric_limits<float>::infinity(); }));
      CHECK(std::all_of(finished.lse.begin() + blind, finished.lse.end(), [](float x) { return std::isfinite(x); }));
    }
  }
}

TEST_CASE("with a sink a row that sees no key ends as zero and the sink's logit, and others hold more than their keys") {
  for (const KernelTable* kernels : available_kernels()) {
    AttendCase attend({.group = 2, .query_tokens = 40, .key_tokens = 64, .query_offset = -20, .mask = "causal", .sinks = true});
    attend.run(*kernels);
    const Finished finished = attend.finish();
    INFO(kernels->name);
    CHECK(std::all_of(finished.out.begin(), finished.out.begin() + std::ptrdiff_t{20} * 2 * 64, [](float x) { return x == 0; }));
    bool right = true;
    for (std::size_t row = 0; row < finished.lse.size(); ++row) {
      const float sink = attend.sinks()[row % 2];
      right = right && (row < 40 ? finished.lse[row] == sink : finished.lse[row] > sink);
    }
    CHECK(right);
  }
}

TEST_CASE("dropout leaves log-sum-exp as it is, to the bit, and drops the same pairs whatever else is computed") {
  const Element one_of_each = [](Operand operand, std::int64_t token, int, int channel, float drawn) {
    return operand == Operand::value ? static_cast<float>(token == channel) : drawn;
  };
  for (const Type type : {Type::f32, Type::bf16}) {
    const CaseShape shape{.head_dim = 8,
                          .value_dim = 96,
                          .group = 3,
                          .query_tokens = 70,
                          .key_tokens = 96,
                          .query_unit = 5,
                          .key_unit = 40,
                          .query_offset = 20,
                          .dropout = 0.4,
                          .type = type};
    AttendCase dropping(shape, one_of_each);
    CaseShape whole = shape;
    whole.dropout = 0;
    AttendCase keeping(whole, one_of_each);
    const Dropout rule{.probability = 0.4, .seed = shape.seed};
    for (const KernelTable* kernels : available_kernels()) {
      for (const int strips : {1, 3}) {  // one strip: few rows
        dropping.clear(), keeping.clear();
        dropping.run(*kernels, 2, strips), keeping.run(*kernels, 2, strips);
        const Finished left = dropping.finish(), all = keeping.finish();
        CHECK(same_bits(left.lse, all.lse));
        // Channel c is the weight of key c.
        bool right = true;
        for (std::size_t i = 0; i < left.out.size(); ++i) {
          const auto row = static_cast<std::int64_t>(i / 96), key = static_cast<std::int64_t>(i % 96);
          const double factor = dropout_factor(rule, 20 + row / 3, key, static_cast<int>(row % 3));
          right = right && (factor == 0) == (left.out[i] == 0) && std::abs(left.out[i] - factor * all.out[i]) <= 0.02 * all.out[i];
        }
        INFO(kernels->name << ", " << strips << " strips a block");
        CHECK(right);
      }
    }
  }
}

TEST_CASE("the bias of positions that are millions and more apart is within the bounds") {
  for (const std::int64_t offset : {2'000'000, -2'000'000, 2'000'000'000}) {
    check({.head_dim = 16,
           .value_dim = 8,
           .group = 8,
           .query_tokens = 40,
           .key_tokens = 130,
           .query_offset = offset,
           .size = 1,
           .alibi = true});
  }
}

TEST_CASE("work without queries or keys does nothing") {
  const KernelTable& kernels = select_kernels();
  for (const auto& [queries, keys] : {std::pair<int, int>{0, 50}, {50, 0}, {0, 0}}) {
    AttendCase attend({.query_tokens = queries, .key_tokens = keys});
    const std::vector<float> before = attend.partial_bits();
    attend.run(kernels, 2);
    CHECK(attend.partial_bits() == before);
  }
  Team team(1);
  const Bands bands;
  Attend({.shape = {.head_dim = 8, .value_dim = 8}, .bands = &bands, .heads = {}}, kernels, 1).run(team, [] {});
}

TEST_CASE("the caller's thread polls after each of its tiles, and no other thread does") {
  AttendCase attend({.head_dim = 8, .value_dim = 8, .query_tokens = 480, .key_tokens = 640, .query_unit = 480, .key_unit = 64});
  for (const int threads : {1, 3}) {
    Team team(threads);
    int polls = 0;
    bool caller = true;
    Attend(attend.work(), select_kernels("portable"), threads, 3).run(team, [&, thread = std::this_thread::get_id()] {
      ++polls;
      caller = caller && std::this_thread::get_id() == thread;
    });
    CHECK(caller);
    if (threads == 1) CHECK(polls == 10 * 10);
  }
}

TEST_CASE("running grows no scratch memory, and attends that share it need it once") {
  for (const Type type : {Type::f32, Type::bf16})
    for (const char* mask : {"full", "dilated(30,7)", "documents(1,2,3,4,100,200,290) & causal", "strided(3)"}) {
      AttendCase attend({.head_dim = 8, .value_dim = 8, .query_tokens = 600, .key_tokens = 600, .mask = mask, .type = type});
      const auto scratch = std::make_shared<AttendScratch>(2);
      Attend first(attend.work(), select_kernels(), 2, 0, scratch);
      const std::size_t bytes = scratch->bytes();
      Attend second(attend.work(), select_kernels(), 2, 0, scratch);
      Team team(2);
      first.run(team, [] {});
      second.run(team, [] {});
      CHECK(bytes > 0);
      CHECK(first.scratch_bytes() == bytes);
      CHECK(second.scratch_bytes() == bytes);
    }
}

TEST_CASE("attend refuses what it cannot run, by value, limit and remedy") {
  const KernelTable& kernels = select_kernels();
  AttendCase longer({.head_dim = 1, .value_dim = 1, .query_tokens = 1, .key_tokens = 3000, .key_unit = 2049});
  CHECK_THROWS_WITH(Attend(longer.work(), kernels, 1),
                    Catch::Contains("2049") && Catch::Contains("2048") && Catch::Contains("shorter"));
  AttendCase fine({});
  CHECK_THROWS_AS(Attend(fine.work(), kernels, 1, 5), std::invalid_argument);
  CHECK_THROWS_AS(Attend(fine.work(), kernels, 0), std::invalid_argument);
  AttendWork work = fine.work();
  work.score.slopes = {0.5, 0.25};
  CHECK_THROWS_WITH(Attend(work, kernels, 1), Catch::Contains("2 slopes for 1 query heads"));
  work.score.slopes = {0.5}, work.shape.residues.stride = 2;
  CHECK_THROWS_WITH(Attend(work, kernels, 1), Catch::Contains("residue order of stride 2"));
  work.shape.residues.stride = 1;
  work.score = {.dropout = Dropout{.probability = 1}};
  CHECK_THROWS_WITH(Attend(work, kernels, 1), Catch::Contains("less than 1"));
  Team team(2);
  Attend attend(fine.work(), kernels, 1);
  CHECK_THROWS_AS(attend.run(team, [] {}), std::invalid_argument);
}

}  // namespace gyre::testing
