// Gradients against the float64 reference, and their bits.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <thread>

#include "kernels/backward_case.hpp"
#include "kernels/convert.hpp"
#include "kernels/gradient.hpp"
#include "kernels/partial.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr double kTwoRoundings = 1.42;  // as in test_attend.cpp

/// Of one gradient.
struct Worst {
  double share = 0;  // of the bound
  double error = 0;
  double largest = 0;

  Worst(const std::vector<float>& found, const ReferenceGradient& reference) {
    const auto add = [](double& place, double value) { place = std::isnan(value) ? value : (place < value ? value : place); };
    for (std::size_t k = 0; k < found.size(); ++k) {
      const double off = std::abs(static_cast<double>(found[k]) - reference.value[k]);
      add(error, off), add(share, off / (reference.bound[k] + 1e-36)), add(largest, std::abs(reference.value[k]));
    }
  }
};

void check(const CaseShape& shape, const Element& element = {}) {
  BackwardCase backward(shape, shape.type, element);
  for (const KernelTable* kernels : available_kernels()) {
    backward.clear();
    backward.run(*kernels, 1 + static_cast<int>(shape.seed % 3));
    const FinishedGradients found = backward.finish();
    INFO(kernels->name << ": " << shape.text());
    CHECK(Worst(backward.grad_sinks(), backward.reference(*kernels).sinks).share <= 1);
    const double limit = std::string(kernels->name) == "portable" ? kTwoRoundings : 1;
    const ReferenceGradients& reference = backward.reference(*kernels);
    for (const auto& [name, worst] :
         {std::pair("query", Worst(found.query, reference.query)), std::pair("key", Worst(found.key, reference.key)),
          std::pair("value", Worst(found.value, reference.value))}) {
      INFO("gradient of " << name << ": " << worst.share << " of the bound, error " << worst.error << " of " << worst.largest);
      CHECK(worst.share <= limit);
      // Where each row sees one key, gradients of scores are nothing but rounding.
      const double normal = backward.rounds(*kernels) ? 2e-2 : 3e-6;
      if (shape.size == 1.5 && worst.largest > 1e-9) CHECK(worst.error <= normal * worst.largest);
    }
  }
}

std::vector<float> bits_of(BackwardCase& backward, const KernelTable& kernels, int threads) {
  backward.clear();
  backward.run(kernels, threads);
  return backward.bits();
}

}  // namespace

TEST_CASE("gradients stay within the bounds on random shapes and masks, on every instruction set") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) check(random_shape(seed));
}

TEST_CASE("gradients stay within the bounds on more random shapes and masks, on every instruction set", "[slow]") {
  for (std::uint64_t seed = 41; seed <= 200; ++seed) check(random_shape(seed));
}

TEST_CASE("gradients of scores of two hundred and more neither overflow nor leave the bounds") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CaseShape shape = random_shape(1000 + seed);
    shape.size = 8;
    check(shape);
  }
}

TEST_CASE("gradients of inputs with outliers stay within the bounds") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    check({.head_dim = 64,
           .group = 4,
           .query_tokens = 300,
           .key_tokens = 300,
           .mask = "causal",
           .size = 1,
           .outliers = 0.02,
           .seed = seed});
  }
}

TEST_CASE("gradients work at each head dim and value dim, in every type") {
  int next = 0;
  for (const int dim : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 96, 127, 129, 255, 576}) {
    CaseShape keys{.head_dim = dim, .value_dim = 24, .query_tokens = 20, .key_tokens = 70, .mask = "causal", .seed = 7};
    CaseShape values{.head_dim = 24, .value_dim = dim, .query_tokens = 20, .key_tokens = 70, .mask = "causal", .seed = 8};
    keys.type = values.type = std::array{Type::f32, Type::bf16, Type::f16}[next++ % 3];
    check(keys);
    check(values);
  }
}

TEST_CASE("gradients work with units of every length up to 130") {
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

TEST_CASE("gradients over long units stay within the bounds") {
  check({.query_tokens = 300, .key_tokens = 2100, .query_unit = 512, .key_unit = 2048, .query_offset = 1800, .mask = "causal"});
}

// Scores are 0. Values and keys change their sign together, so that every addend of a gradient is the same, though the slopes of a
// row's scores add up to 0.
TEST_CASE("four thousand units of equal gradients stay within the bounds, which sums without compensation leave") {
  const Element equal = [](Operand operand, std::int64_t token, int, int channel, float) {
    const float sign = token % 2 == 0 ? 1.0F : -1.0F;
    if (operand == Operand::query) return channel == 0 ? 0.1F : 0.0F;
    if (operand == Operand::key) return channel == 0 ? 0.0F : sign * 0.17F;
    return operand == Operand::value ? sign * 0.7F : 0.1F;
  };
  const CaseShape rows{.head_dim = 4,
                       .value_dim = 8,
                       .query_tokens = 65536,
                       .key_tokens = 16,
                       .query_unit = 16,
                       .key_unit = 16,
                       .mask = "full",
                       .size = 1};
  CaseShape keys = rows;
  std::swap(keys.query_tokens, keys.key_tokens);
  check(rows, equal);
  check(keys, equal);
}

TEST_CASE("gradients of rows whose products are all equal stay within the bounds, where every rounding of a chain errs alike") {
  for (const float size : {0.1F, 1.0F, 4.0F}) {
    for (const float query : {1.1F, 1.37F, 1.73F, 1.9F}) {
      check({.head_dim = 64, .query_tokens = 64, .key_tokens = 64, .query_unit = 64, .key_unit = 64, .mask = "full", .size = 1},
            [&](Operand operand, std::int64_t token, int, int, float) {
              if (operand == Operand::query) return size * query;
              if (operand == Operand::key) return size * (1.0F + 0.01F * static_cast<float>(token));
              return operand == Operand::value ? 1.3F + 0.02F * static_cast<float>(token) : query;
            });
    }
  }
}

TEST_CASE("rows and keys that see nothing have gradients of zero, not NaN") {
  for (const KernelTable* kernels : available_kernels()) {
    // Rows 0..19 stand before the first key; keys 60.. behind the last row.
    BackwardCase backward({.query_tokens = 80, .key_tokens = 100, .query_unit = 16, .query_offset = -20, .mask = "causal"});
    backward.run(*kernels, 2);
    const FinishedGradients found = backward.finish();
    const auto zero = [](float x) { return x == 0; };
    INFO(kernels->name);
    CHECK(std::all_of(found.query.begin(), found.query.begin() + 20 * 64, zero));
    CHECK(std::all_of(found.key.begin() + 60 * 64, found.key.end(), zero));
    CHECK(std::all_of(found.value.begin() + 60 * 64, found.value.end(), zero));
    CHECK(std::none_of(found.value.begin(), found.value.begin() + 60 * 64, zero));
    CHECK(std::all_of(found.query.begin(), found.query.end(), [](float x) { return std::isfinite(x); }));
  }
}

TEST_CASE(
    "statistics are of grad_out as its cell holds it; blind rows and rows past the end weigh nothing, and their out is not read") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const CellShape shape{.head_dim = 4, .value_dim = 2, .group = 1, .type = Type::bf16};
  const std::vector<float> grad_out{1.00390625F + 0x1p-12F, 2, 5, 6, -3, 4}, out{3, -1, kNan, kNan, 0.5F, 0.25F};
  const std::vector<float> lse{2, -std::numeric_limits<float>::infinity(), -1};
  const Buffer cell(cell_bytes(Role::row_statistics, shape, 3));
  cell.fill(kNan);
  pack_row_statistics(shape, Rows<const float>(grad_out.data(), 3, 1, 2), Rows<const float>(out.data(), 3, 1, 2), lse.data(), 0, 3,
                      0, cell.data());
  const float* const sums = cell.floats() + kStrip;
  CHECK(cell.floats()[0] == static_cast<float>(2 * std::numbers::log2e));
  CHECK(cell.floats()[2] == static_cast<float>(-std::numbers::log2e));
  CHECK(sums[0] == 1.0078125F * 3 - 2);
  CHECK(sums[2] == -0.5F);
  for (const int row : {1, 3, 4, 15}) {
    CHECK(cell.floats()[row] == kBlindLogSumExp);
    CHECK(sums[row] == 0);
  }
}

TEST_CASE("gradients are finished in 16 bits as they are in 32, rounded once") {
  BackwardCase backward({.head_dim = 19, .value_dim = 5, .group = 2, .query_tokens = 33, .key_tokens = 21});
  backward.run(select_kernels());
  const FinishedGradients wide = backward.finish();
  const CellShape& shape = backward.forward().cells();
  const AttendBackwardWork work = backward.work();
  std::vector<f16> query(wide.query.size()), key(wide.key.size()), value(wide.value.size());
  for (const BackwardQueryCell& cell : work.heads[0].queries) {
    finish_grad_query(shape, cell.grad_query, cell.positions.size(), 0, Rows<f16>(query.data(), 33, 2, 19), cell.positions.begin);
  }
  for (const BackwardKeyCell& cell : work.heads[0].keys) {
    finish_grad_key_value(shape, cell.gradient, cell.positions.size(), 0, Rows<f16>(key.data(), 21, 1, 19),
                          Rows<f16>(value.data(), 21, 1, 5), cell.positions.begin);
  }
  const auto rounded = [](float a, f16 b) { return to_f16(a).bits == b.bits; };
  CHECK(std::equal(wide.query.begin(), wide.query.end(), query.begin(), rounded));
  CHECK(std::equal(wide.key.begin(), wide.key.end(), key.begin(), rounded));
  CHECK(std::equal(wide.value.begin(), wide.value.end(), value.begin(), rounded));
}

TEST_CASE("backward without queries or keys does nothing") {
  for (const auto& [queries, keys] : {std::pair<int, int>{0, 50}, {50, 0}, {0, 0}}) {
    BackwardCase backward({.query_tokens = queries, .key_tokens = keys});
    backward.run(select_kernels(), 2);
    const std::vector<float> bits = backward.bits();
    CHECK(std::all_of(bits.begin(), bits.end(), [](float x) { return x == 0; }));
  }
}

TEST_CASE("threads change no bit of a gradient") {
  for (const CaseShape& shape : shapes_of_bits()) {
    BackwardCase backward(shape);
    for (const KernelTable* kernels : available_kernels()) {
      const std::vector<float> expected = bits_of(backward, *kernels, 1);
      INFO(kernels->name << ": " << shape.text());
      for (const int threads : {2, 3, 5}) CHECK(same_bits(expected, bits_of(backward, *kernels, threads)));
    }
  }
}

TEST_CASE("splitting keys, or queries from the last to the first, over several passes changes no bit of a gradient") {
  for (const CaseShape& shape : shapes_of_bits()) {
    BackwardCase backward(shape);
    Team team(1);
    const std::vector<int> queries = every_unit(backward.forward().query_units()),
                           keys = every_unit(backward.forward().key_units());
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const std::vector<float> expected = bits_of(backward, *kernels, 1);
      const auto scratch = std::make_shared<BackwardScratch>(1);
      backward.clear();
      for (std::size_t unit = 0; unit < keys.size(); unit += 2) {
        std::vector<int> some{keys[unit]};
        if (unit + 1 < keys.size()) some.push_back(keys[unit + 1]);
        AttendBackward(backward.work(queries, some), *kernels, 1, scratch).run(team, [] {});
      }
      CHECK(same_bits(expected, backward.bits()));
      backward.clear();
      for (std::size_t unit = queries.size(); unit-- > 0;) {
        AttendBackward(backward.work({queries[unit]}, keys), *kernels, 1, scratch).run(team, [] {});
      }
      CHECK(same_bits(expected, backward.bits()));
    }
  }
}

TEST_CASE("pairs that nobody sees change no bit of a gradient, whether their tiles are computed or left out") {
  for (const KernelTable* kernels : available_kernels()) {
    CaseShape shape{.head_dim = 32,
                    .value_dim = 16,
                    .query_tokens = 192,
                    .key_tokens = 192,
                    .query_unit = 96,
                    .key_unit = 64,
                    .mask = "causal & prefix(100)",
                    .size = 30};
    BackwardCase backward(shape);
    const std::vector<float> expected = bits_of(backward, *kernels, 1);
    // The same pairs as a table of single blocks: every tile is looked at, and its panels are partial.
    shape.mask = "window(191) & prefix(100)";
    BackwardCase same(shape);
    INFO(kernels->name);
    CHECK(same_bits(expected, bits_of(same, *kernels, 1)));
    // Queries 0..95 see the same whether keys 128.. are there or not; keys 100.. are seen by none.
    backward.clear();
    Team team(1);
    AttendBackward(backward.work({0, 1}, {0, 1}), *kernels, 1).run(team, [] {});
    CHECK(same_bits(expected, backward.bits()));
  }
}

TEST_CASE("gradients of 16-bit cells are to the bit those of fp32 cells of the same numbers, but where pairs are multiplied") {
  for (const CaseShape& shape : shapes_of_bits()) {
    if (shape.type == Type::f32) continue;
    BackwardCase narrow(shape), wide(shape, Type::f32);
    for (const KernelTable* kernels : available_kernels()) {
      if (narrow.rounds(*kernels)) continue;
      INFO(kernels->name << ": " << shape.text());
      CHECK(same_bits(bits_of(narrow, *kernels, 1), bits_of(wide, *kernels, 1)));
    }
  }
}

TEST_CASE("instruction sets with fused multiply-adds agree to the bit in gradients, but where pairs are multiplied") {
  for (const CaseShape& shape : shapes_of_bits()) {
    BackwardCase backward(shape);
    std::vector<float> expected;
    for (const KernelTable* kernels : available_kernels()) {
      if (std::string(kernels->name) == "portable" || backward.rounds(*kernels)) continue;
      const std::vector<float> bits = bits_of(backward, *kernels, 1);
      if (expected.empty()) expected = bits;
      INFO(kernels->name << ": " << shape.text());
      CHECK(same_bits(expected, bits));
    }
  }
}

TEST_CASE("in backward the caller's thread polls after each of its tiles, and no other thread does") {
  BackwardCase backward({.head_dim = 8, .value_dim = 8, .query_tokens = 640, .key_tokens = 640, .query_unit = 128, .key_unit = 64});
  for (const int threads : {1, 3}) {
    Team team(threads);
    int polls = 0;
    bool caller = true;
    AttendBackward(backward.work(), select_kernels("portable"), threads).run(team, [&, thread = std::this_thread::get_id()] {
      ++polls;
      caller = caller && std::this_thread::get_id() == thread;
    });
    CHECK(caller);
    if (threads == 1) CHECK(polls == 10 * 10);
  }
}

TEST_CASE("a backward pass says how much of it is done: its units of keys one after the other") {
  BackwardCase backward({.head_dim = 8, .value_dim = 8, .query_tokens = 640, .key_tokens = 640, .query_unit = 128, .key_unit = 64});
  AttendBackward pass(backward.work(), select_kernels(), 1);
  CHECK(pass.work() == 640.0 * 640);
  Team team(1);
  for (int again = 0; again < 2; ++again) {
    int polls = 0;
    bool right = true;
    pass.run(team, [&] {
      const int units = polls++ / 10;
      right = right && pass.work_done() == units * 64.0 * 640;
    });
    CHECK(right);
    CHECK(pass.work_done() == pass.work());
  }
  BackwardCase causal(
      {.head_dim = 8, .value_dim = 8, .query_tokens = 640, .key_tokens = 640, .query_unit = 64, .key_unit = 64, .mask = "causal"});
  CHECK(AttendBackward(causal.work(), select_kernels(), 1).work() == 64.0 * 64 * 10 * 11 / 2);
}

TEST_CASE("a poll that throws ends a backward pass on all threads") {
  BackwardCase backward({.head_dim = 8, .value_dim = 8, .query_tokens = 640, .key_tokens = 640, .query_unit = 128, .key_unit = 64});
  for (const int threads : {1, 2, 4}) {
    Team team(threads);
    AttendBackward pass(backward.work(), select_kernels(), threads);
    for (int after = 0; after < 20; after += 3) {
      int polls = 0;
      bool thrown = false;
      try {
        pass.run(team, [&] {
          if (polls++ >= after) throw std::runtime_error("stop");
        });
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      CHECK(thrown == (polls > after));
      CHECK((threads > 1 || thrown));
    }
    backward.clear();
    pass.run(team, [] {});
    const std::vector<float> found = backward.bits();
    CHECK(same_bits(found, bits_of(backward, select_kernels(), 1)));
  }
}

TEST_CASE("running a backward pass grows no scratch memory, and passes that share it need it once") {
  for (const Type type : {Type::f32, Type::bf16}) {
    BackwardCase backward(
        {.head_dim = 8, .value_dim = 8, .query_tokens = 300, .key_tokens = 300, .mask = "dilated(30,7)", .type = type});
    const auto scratch = std::make_shared<BackwardScratch>(2);
    AttendBackward first(backward.work(), select_kernels(), 2, scratch);
    const std::size_t bytes = scratch->bytes();
    AttendBackward second(backward.work(), select_kernels(), 2, scratch);
    Team team(2);
    first.run(team, [] {});
    second.run(team, [] {});
    CHECK(bytes > 0);
    CHECK(first.scratch_bytes() == bytes);
    CHECK(second.scratch_bytes() == bytes);
  }
}

TEST_CASE("backward refuses what it cannot run, by value, limit and remedy") {
  const KernelTable& kernels = select_kernels();
  BackwardCase longer({.head_dim = 1, .value_dim = 1, .query_tokens = 1, .key_tokens = 3000, .key_unit = 2049});
  CHECK_THROWS_WITH(AttendBackward(longer.work(), kernels, 1),
                    Catch::Contains("2049") && Catch::Contains("2048") && Catch::Contains("shorter"));
  BackwardCase fine({});
  CHECK_THROWS_AS(AttendBackward(fine.work(), kernels, 0), std::invalid_argument);
  CHECK_THROWS_AS(AttendBackward(fine.work(), kernels, 2, std::make_shared<BackwardScratch>(1)), std::invalid_argument);
  Team team(2);
  AttendBackward pass(fine.work(), kernels, 1);
  CHECK_THROWS_AS(pass.run(team, [] {}), std::invalid_argument);
}

}  // namespace gyre::testing
