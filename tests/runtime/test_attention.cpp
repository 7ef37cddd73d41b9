// Attention end to end over loopback, against the float64 reference.
#include <algorithm>
#include <limits>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "kernels/convert.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

void run_random_jobs(std::uint64_t seed, int rounds) {
  Random random(seed);
  for (int round = 0; round < rounds; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_job(random, ranks);
    INFO("round " << round << ": " << job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const Errors errors =
        compare(job.problem, tensors, run_loopback_job(job, tensors, ranks, static_cast<int>(draw(random, 0, 4))), 3);
    CHECK(errors.out < largest_normal_error(job.problem));
    CHECK(errors.lse < largest_normal_lse_error(job.problem));
    CHECK(errors.share_of_bound <= 1);
  }
}

}  // namespace

TEST_CASE("random jobs on 1 to 8 ranks agree with the float64 reference") {
  run_random_jobs(2024, 250);
}

TEST_CASE("5,000 random jobs on 1 to 8 ranks agree with the float64 reference", "[.long]") {
  run_random_jobs(2025, 5000);
}

TEST_CASE("large scores stay within the bound that grows with them") {
  Random random(7);
  for (int round = 0; round < 40; ++round) {
    const Job job = random_job(random, 3);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 12);
    CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 3), 3).share_of_bound <= 1);
  }
}

TEST_CASE("cells of 16 bits cost what rounding the inputs costs, and bf16 no more than rounding the weights beyond that") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 700;
  job.problem.query_heads = job.problem.key_heads = 2;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 11, 1.5);
  for (const Type type : {Type::bf16, Type::f16}) {
    job.problem.type = Type::f32;
    const Result of_rounded = run_loopback_job(job, rounded(tensors, type), 3);
    job.problem.type = type;
    const Result result = run_loopback_job(job, tensors, 3);
    if (type == Type::f16) CHECK(result == of_rounded);
    CHECK(compare(job.problem, tensors, result).out < largest_normal_error(job.problem));
    Problem unrounded = job.problem;
    unrounded.type = Type::f32;
    const Errors errors = compare(unrounded, tensors, result);
    CHECK(errors.out < (type == Type::bf16 ? 1.5e-2 : 2e-3));
    CHECK(errors.out > 1e-5);
  }
}

TEST_CASE("operands of any type give what fp32 copies of them give, and a narrow output is rounded once") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 130;
  job.problem.query_heads = 4, job.problem.key_heads = 2;
  job.problem.head_dim = 20, job.problem.value_dim = 9;
  job.problem.mask = Mask::causal();
  for (const Type cells : {Type::f32, Type::bf16}) {
    job.problem.type = cells;
    const Tensors tensors = rounded(random_tensors(job.problem, 12, 1.5), Type::bf16);
    const Result expected = run_loopback_job(job, tensors, 3);
    std::vector<int> wrong(3, 1);  // [rank]
    run_loopback(3, [&](Transport& transport) {
      const RankRows rows(job, tensors, transport);
      Operands operands = rows.operands();
      std::vector<std::vector<bf16>> narrow;
      const auto narrowed = [&](const TypedRows& wide) {
        auto& copy = narrow.emplace_back(wide.tokens * wide.heads * wide.dim);
        convert(wide.data, Type::f32, copy.data(), Type::bf16, std::ssize(copy));
        return TypedRows(copy.data(), wide.tokens, wide.heads, wide.dim);
      };
      operands.queries = narrowed(operands.queries);
      operands.keys = narrowed(operands.keys);
      operands.values = narrowed(operands.values);
      const TypedOutRows wide_out = operands.out;
      std::vector<f16> out(wide_out.tokens * 4 * 9);
      Attention attention(transport, job.problem, job.options);
      attention.forward(operands);
      operands.out = {out.data(), wide_out.tokens, 4, 9};
      attention.forward(operands);
      Result mine = expected;  // with this rank's rows written again
      rows.write_to(mine);
      wrong[transport.rank()] = mine == expected ? 0 : 1;
      for (std::size_t i = 0; i < out.size(); ++i) {
        wrong[transport.rank()] += out[i].bits != to_f16(static_cast<const float*>(wide_out.data)[i]).bits;
      }
    });
    CHECK(wrong == std::vector<int>(3, 0));
  }
}

TEST_CASE("the error does not grow with the number of units, nor where every rounding errs to the same side") {
  Job job;
  job.problem.query_tokens = 8;
  job.problem.query_heads = job.problem.key_heads = 1;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.options.partition = PartitionChoice::parse("contiguous");
  for (const std::int64_t key_tokens : {2048, 65536}) {
    job.problem.key_tokens = key_tokens;
    for (const std::int64_t unit : {1, 8, 64, 512}) {
      if (unit == 1 && key_tokens > 2048) continue;  // every unit takes a strip of 16
      job.options.unit_tokens = unit;
      INFO(key_tokens << " keys, units of " << unit);
      Tensors tensors = random_tensors(job.problem, 5, 1.5);
      CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      std::fill(tensors.queries.begin(), tensors.queries.end(), 0.0F);  // equal weights
      CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      for (const float value : {0.1F, 0.3F, 0.7F, 1.0F / 3}) {  // equal addends: errors of a chain all point one way
        std::fill(tensors.values.begin(), tensors.values.end(), value);
        CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, 2)).share_of_bound <= 1);
      }
    }
  }
}

TEST_CASE("sampled rows of 65,536 keys keep the error of short sequences") {
  Job job;
  job.problem.query_tokens = 48;
  job.problem.key_tokens = 65536;
  job.problem.query_heads = job.problem.key_heads = 1;
  job.problem.mask = Mask::full();
  job.options.partition = PartitionChoice::parse("contiguous");
  const Tensors tensors = random_tensors(job.problem, 3, 1.5);
  const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, 2), 5);
  CHECK(errors.out < 2e-6);
  CHECK(errors.lse < 1e-5);
  CHECK(errors.share_of_bound <= 1);
}

TEST_CASE("65,536 queries and keys keep the error of short sequences under every mask, placement and rank count", "[.long]") {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 65536;
  job.problem.query_heads = 2;
  job.problem.key_heads = 1;
  const Tensors tensors = random_tensors(job.problem, 8, 1.5);
  Random random(9);
  for (const char* mask : {"full", "causal", "window(5000,100) | sinks(4)", "strided(7) & causal", "documents(30000,1,35535)"}) {
    job.problem.mask = Mask::parse(mask);
    for (const char* partition : {"contiguous", "zigzag", "striped", "balanced"}) {
      job.options.partition = PartitionChoice::parse(partition);
      const int ranks = static_cast<int>(draw(random, 1, 8));
      INFO(mask << ", " << partition << ", " << ranks << " ranks");
      const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, ranks), 2999);
      CHECK(errors.out < 2e-6);
      CHECK(errors.lse < 1e-5);
      CHECK(errors.share_of_bound <= 1);
    }
  }
}

TEST_CASE("rows that see no key are zero with a log-sum-exp of minus infinity on any number of ranks") {
  Job job;
  job.problem.query_tokens = 40;
  job.problem.key_tokens = 30;
  job.problem.query_offset = -20;
  job.problem.query_heads = job.problem.key_heads = 2;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 4, 1.5);
  for (const int ranks : {1, 3, 8}) {
    const Result result = run_loopback_job(job, tensors, ranks);
    for (int row = 0; row < 20 * 2; ++row) {
      CHECK(result.lse[row] == -std::numeric_limits<float>::infinity());
      for (int channel = 0; channel < 8; ++channel) CHECK(result.out[row * 8 + channel] == 0);
    }
    CHECK(compare(job.problem, tensors, result).out < 2e-6);
  }
}
