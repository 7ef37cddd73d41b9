// Gradients end to end over loopback, against the float64 reference.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/faulty_transport.hpp"
#include "comm/loopback_transport.hpp"
#include "kernels/convert.hpp"
#include "runtime/schedules/schedules.hpp"
#include "support/catch.hpp"
#include "support/count_allocations.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

Gradients run_loopback_job(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, int ranks,
                           int ranks_per_node = 0) {
  Gradients gradients(job.problem);
  run_loopback(
      ranks, [&](Transport& transport) { run_rank(transport, job, tensors, grad_out, gradients); }, ranks_per_node);
  return gradients;
}

void run_random_jobs(std::uint64_t seed, int rounds) {
  Random random(seed);
  for (int round = 0; round < rounds; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_gradient_job(random, ranks);
    INFO("round " << round << ": " << job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    const Gradients gradients = run_loopback_job(job, tensors, grad_out, ranks, static_cast<int>(draw(random, 0, 4)));
    CHECK(compare(job.problem, tensors, grad_out, gradients).share_of_bound <= 1);
  }
}

Job causal_job(int query_heads, int key_heads) {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 150;
  job.problem.query_heads = query_heads, job.problem.key_heads = key_heads;
  job.problem.head_dim = 8, job.problem.value_dim = 5;
  job.problem.mask = Mask::causal();
  job.options.unit_tokens = 7;
  job.options.piece_bytes = 1;
  job.options.backward = Backward::keys_travel;
  return job;
}

/// Those that give gradients.
std::vector<StrategyChoice> strategies_at(int ranks) {
  return {Strategy::ring,    Strategy::bidirectional_ring, {Strategy::double_ring, ranks / 2}, Strategy::all_gather,
          Strategy::ulysses, {Strategy::hybrid, 2}};
}

}  // namespace

TEST_CASE("gradients of random jobs on 1 to 8 ranks agree with the float64 reference") {
  run_random_jobs(3024, 120);
}

TEST_CASE("gradients of 3,000 random jobs on 1 to 8 ranks agree with the float64 reference", "[.long]") {
  run_random_jobs(3025, 3000);
}

TEST_CASE("gradients of normal inputs come within 4e-6 of the largest one, and those of bf16 within 2e-2, by every strategy") {
  Job job = causal_job(2, 1);
  job.problem.query_tokens = job.problem.key_tokens = 160;
  job.problem.head_dim = job.problem.value_dim = 64;
  job.options.unit_tokens = 0;
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    job.problem.type = type;
    const Tensors tensors = random_tensors(job.problem, 8, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 9, 1.5);
    for (const StrategyChoice strategy : strategies_at(4)) {
      for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
        if (!can_go_backward(strategy.kind, way)) continue;
        INFO(to_string(type) << ", " << to_string(strategy) << ", " << to_string(way) << " travel");
        job.options.strategy = strategy, job.options.backward = way;
        const Gradients gradients = run_loopback_job(job, tensors, grad_out, 4);
        CHECK(compare(job.problem, tensors, grad_out, gradients).relative < (type == Type::bf16 ? 2e-2 : 4e-6));
      }
    }
  }
}

TEST_CASE("the same ranks give the same gradients on every run, under delays, with other threads, and where no memory is shared") {
  Random random(98);
  for (int round = 0; round < 40; ++round) {
    const int ranks = static_cast<int>(draw(random, 2, 8));
    Job job = random_gradient_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    const Gradients expected = run_loopback_job(job, tensors, grad_out, ranks);
    job.options.sharing = draw(random, 0, 3) == 0 ? Sharing::off : Sharing::automatic;
    job.options.threads = 3 - job.options.threads;
    Gradients delayed(job.problem);
    const std::uint64_t seed = random();
    const auto run_slowly = [&](Transport& transport) {
      const auto slow = faulty_transport(transport, {.seed = seed + transport.rank(), .longest_delay = 30});
      run_rank(*slow, job, tensors, grad_out, delayed, 2);
    };
    run_loopback(ranks, run_slowly, static_cast<int>(draw(random, 1, ranks)));
    CHECK(delayed == expected);
  }
}

namespace {

/// Every strategy that gives gradients, both ways where it has them, at 8 ranks.
void run_delayed(std::uint64_t seeds) {
  constexpr int kRanks = 8;
  Random random(6);
  for (const StrategyChoice strategy : strategies_at(kRanks)) {
    for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
      if (!can_go_backward(strategy.kind, way)) continue;
      Job job = causal_job(6, 3);
      job.options.strategy = strategy, job.options.backward = way;
      const Tensors tensors = random_tensors(job.problem, 3, 1.5);
      const std::vector<float> grad_out = random_grad_out(job.problem, 4, 1.5);
      const Gradients expected = run_loopback_job(job, tensors, grad_out, kRanks);
      CHECK(compare(job.problem, tensors, grad_out, expected).share_of_bound <= 1);
      for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        INFO(to_string(strategy) << ", " << to_string(way) << " travel, seed " << seed);
        Gradients delayed(job.problem);
        const auto run_slowly = [&](Transport& transport) {
          const auto slow = faulty_transport(transport, {.seed = seed * kRanks + transport.rank(), .longest_delay = 20});
          run_rank(*slow, job, tensors, grad_out, delayed, 2);
        };
        run_loopback(kRanks, run_slowly, static_cast<int>(draw(random, 1, kRanks)));
        REQUIRE(delayed == expected);
      }
    }
  }
}

}  // namespace

TEST_CASE("at 8 ranks no strategy changes a bit of a gradient under 20 seeds of delays and reorderings", "[slow]") {
  run_delayed(20);
}

TEST_CASE("at 8 ranks no strategy changes a bit of a gradient under 1,000 seeds of delays and reorderings", "[.long]") {
  run_delayed(1000);
}

TEST_CASE("forward and backward calls in any order give what each gives alone, in the memory of the one that needs more") {
  Random random(71);
  for (int round = 0; round < 25; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 5));
    const Job job = random_gradient_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    Result once(job.problem), again(job.problem);
    Gradients gradients(job.problem), later(job.problem);
    std::atomic<int> not_the_most = 0;
    const auto body = [&](Transport& transport) {
      const RankRows alone(job, tensors, transport);
      Job forward_only = job;
      forward_only.options.backward = Backward::none;
      Attention forward(transport, job.problem, forward_only.options);
      forward.forward(alone.operands());
      alone.write_to(once);
      const GradientRows rows(job, tensors, grad_out, transport);
      Attention attention(transport, job.problem, job.options);
      attention.forward(rows.forward());
      attention.backward(rows.backward());
      rows.write_to(gradients);
      rows.forget();
      attention.backward(rows.backward());
      attention.forward(alone.operands());
      attention.forward(rows.forward());
      alone.write_to(again);
      attention.backward(rows.backward());
      rows.write_to(later);
      const Program &one = attention.program(), &other = attention.program(Pass::backward);
      const std::int64_t most = std::max(one.arena_bytes, other.arena_bytes) + std::max(one.window_bytes, other.window_bytes);
      if (attention.arena_bytes() != most) ++not_the_most;
    };
    run_loopback(ranks, body, static_cast<int>(draw(random, 1, ranks)));
    CHECK(again == once);
    CHECK(later == gradients);
    CHECK(not_the_most == 0);
  }
}

TEST_CASE("rows that see no key, and keys that no row sees, get gradients of zero on any number of ranks") {
  Job job;
  job.problem.query_tokens = 40, job.problem.key_tokens = 30;
  job.problem.query_offset = -20;  // the last query sees keys up to 19
  job.problem.query_heads = job.problem.key_heads = 2;
  job.problem.head_dim = job.problem.value_dim = 8;
  job.problem.mask = Mask::causal();
  const Tensors tensors = random_tensors(job.problem, 4, 1.5);
  const std::vector<float> grad_out = random_grad_out(job.problem, 5, 1.5);
  for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
    job.options.backward = way;
    for (const int ranks : {1, 3, 8}) {
      const Gradients gradients = run_loopback_job(job, tensors, grad_out, ranks);
      const auto zero = [](float x) { return x == 0; };
      CHECK(std::all_of(gradients.queries.begin(), gradients.queries.begin() + 20 * 16, zero));
      CHECK(std::all_of(gradients.keys.begin() + 20 * 16, gradients.keys.end(), zero));
      CHECK(std::all_of(gradients.values.begin() + 20 * 16, gradients.values.end(), zero));
      CHECK(compare(job.problem, tensors, grad_out, gradients).share_of_bound <= 1);
    }
  }
}

namespace {

/// Rows between which other numbers lie, which stay as they are.
struct Spread {
  static constexpr std::int64_t kHeadGap = 3, kTokenGap = 5;
  std::vector<float> numbers;
  Rows<float> rows;

  Spread(std::int64_t tokens, int heads, int dim)
      : numbers(tokens * (heads * (dim + kHeadGap) + kTokenGap), std::nanf("")), rows(numbers.data(), tokens, heads, dim) {
    rows.head_stride = dim + kHeadGap, rows.token_stride = heads * (dim + kHeadGap) + kTokenGap;
  }
  explicit Spread(const TypedRows& from) : Spread(from.tokens, from.heads, from.dim) {
    each([&](std::int64_t token, int head, int c, float& number) {
      number = reinterpret_cast<const float*>(from.row(token, head))[c];
    });
  }
  template <class Visit>
  void each(const Visit& visit) {
    for (std::int64_t token = 0; token < rows.tokens; ++token) {
      for (int head = 0; head < rows.heads; ++head) {
        for (int c = 0; c < rows.dim; ++c) visit(token, head, c, rows.row(token, head)[c]);
      }
    }
  }
  /// Elements that differ, and gaps that were written.
  int wrong(const TypedOutRows& expected) {
    int wrong = 0;
    each([&](std::int64_t token, int head, int c, float& number) {
      if (number != reinterpret_cast<const float*>(expected.row(token, head))[c]) ++wrong;
      number = std::nanf("");
    });
    return wrong + static_cast<int>(std::count_if(numbers.begin(), numbers.end(), [](float x) { return !std::isnan(x); }));
  }
};

}  // namespace

TEST_CASE("gradients of rows with gaps between them are those of dense ones, and gaps are neither read nor written") {
  for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
    Job job = causal_job(4, 2);
    job.options.backward = way;
    const Tensors tensors = random_tensors(job.problem, 12, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 13, 1.5);
    std::vector<int> wrong(3, 1);  // [rank]
    run_loopback(3, [&](Transport& transport) {
      const GradientRows rows(job, tensors, grad_out, transport);
      Attention attention(transport, job.problem, job.options);
      attention.forward(rows.forward());
      GradientOperands dense = rows.backward(), spread = dense;
      attention.backward(dense);
      Spread queries(dense.queries), keys(dense.keys), values(dense.values), out(dense.out), of_out(dense.grad_out);
      spread.queries = queries.rows, spread.keys = keys.rows, spread.values = values.rows;
      spread.out = out.rows, spread.grad_out = of_out.rows;
      Spread grad_queries(dense.queries.tokens, 4, 8), grad_keys(dense.keys.tokens, 2, 8), grad_values(dense.keys.tokens, 2, 5);
      spread.grad_queries = grad_queries.rows, spread.grad_keys = grad_keys.rows, spread.grad_values = grad_values.rows;
      attention.backward(spread);
      wrong[transport.rank()] =
          grad_queries.wrong(dense.grad_queries) + grad_keys.wrong(dense.grad_keys) + grad_values.wrong(dense.grad_values);
    });
    CHECK(wrong == std::vector<int>(3, 0));
  }
}

TEST_CASE("operands of 16 bits give what fp32 copies of them give, and narrow gradients are rounded once") {
  const Job job = causal_job(4, 2);
  const Tensors tensors = rounded(random_tensors(job.problem, 12, 1.5), Type::bf16);
  const std::vector<float> grad_out =
      rounded({.queries = random_grad_out(job.problem, 13, 1.5), .keys = {}, .values = {}}, Type::bf16).queries;
  std::vector<int> wrong(3, 1);  // [rank]
  run_loopback(3, [&](Transport& transport) {
    const GradientRows rows(job, tensors, grad_out, transport);
    Attention attention(transport, job.problem, job.options);
    attention.forward(rows.forward());
    const GradientOperands wide = rows.backward();
    attention.backward(wide);
    GradientOperands narrow = wide;
    std::vector<std::vector<bf16>> copies;
    const auto narrowed = [&](const TypedRows& from) {
      auto& copy = copies.emplace_back(from.tokens * from.heads * from.dim);
      convert(from.data, Type::f32, copy.data(), Type::bf16, std::ssize(copy));
      return TypedRows(copy.data(), from.tokens, from.heads, from.dim);
    };
    narrow.queries = narrowed(wide.queries), narrow.keys = narrowed(wide.keys), narrow.values = narrowed(wide.values);
    narrow.grad_out = narrowed(wide.grad_out);
    std::vector<std::vector<f16>> gradients;
    const auto room = [&](const TypedOutRows& like) {
      auto& place = gradients.emplace_back(like.tokens * like.heads * like.dim);
      return TypedOutRows(place.data(), like.tokens, like.heads, like.dim);
    };
    narrow.grad_queries = room(wide.grad_queries), narrow.grad_keys = room(wide.grad_keys);
    narrow.grad_values = room(wide.grad_values);
    attention.backward(narrow);
    int different = 0;
    const TypedOutRows* const expected[] = {&wide.grad_queries, &wide.grad_keys, &wide.grad_values};
    for (int of = 0; of < 3; ++of) {
      for (std::size_t i = 0; i < gradients[of].size(); ++i)
        different += gradients[of][i].bits != to_f16(static_cast<const float*>(expected[of]->data)[i]).bits;
    }
    wrong[transport.rank()] = different;
  });
  CHECK(wrong == std::vector<int>(3, 0));
}

TEST_CASE("with communication switched off backward does the same work, and a call after it is right again") {
  Random random(13);
  for (int round = 0; round < 20; ++round) {
    const Job job = random_gradient_job(random, 4);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    Gradients gradients(job.problem);
    std::atomic<bool> sent = false;
    const auto body = [&](Transport& transport) {
      const GradientRows rows(job, tensors, grad_out, transport);
      Attention attention(transport, job.problem, job.options);
      attention.forward(rows.forward());
      attention.backward(rows.backward());
      const Traffic before = transport.traffic();
      attention.backward(rows.backward(), {.wire = Wire::silent});
      const Traffic after = transport.traffic();
      if (after.bytes_sent != before.bytes_sent || after.bytes_borrowed != before.bytes_borrowed) sent = true;
      rows.forget();
      attention.backward(rows.backward());
      rows.write_to(gradients);
    };
    run_loopback(4, body, 2);
    CHECK_FALSE(sent);
    CHECK(gradients == run_loopback_job(job, tensors, grad_out, 4));
  }
}

TEST_CASE("a backward call allocates nothing, and its timeline has every computation and transfer once") {
  Random random(18);
  for (int round = 0; round < 12; ++round) {
    const Job job = random_gradient_job(random, 4);
    INFO(job.text);
    const Tensors tensors = random_tensors(job.problem, 1, 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, 2, 1.5);
    std::mutex mutex;
    std::vector<std::string> wrong;
    const auto body = [&](Transport& transport) {
      const GradientRows rows(job, tensors, grad_out, transport);
      Attention attention(transport, job.problem, job.options);
      attention.forward(rows.forward());
      const GradientOperands operands = rows.backward();
      const std::uint64_t before = allocations_of_this_thread();
      attention.backward(operands);
      const std::uint64_t allocated = allocations_of_this_thread() - before;
      Timeline timeline;
      attention.backward(operands, {.timeline = &timeline});
      const Program& program = attention.program(Pass::backward);
      std::vector<int> seen(program.instructions.size(), 0);
      for (const TimelineEvent& event : timeline.events()) seen[event.instruction] += event.kind != TimelineEvent::Kind::wait;
      const std::lock_guard lock(mutex);
      if (allocated != 0) wrong.push_back(std::to_string(allocated) + " allocations");
      for (std::size_t index = 0; index < seen.size(); ++index) {
        if (seen[index] != (program.instructions[index].op == Op::release ? 0 : 1)) wrong.push_back(describe(program, index));
      }
    };
    run_loopback(4, body, 2);
    CHECK(wrong == std::vector<std::string>{});
  }
}

namespace {

/// What a forward and a backward call end with, if a bit of one rank's receive flips; and from whom that came, -1 if from nobody.
struct Ending {
  std::string message;
  int flipped_from = -1;
};

Ending end_of(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, int ranks, int hurt, Faults faults) {
  Ending ending;
  faults.flipped = [&](int peer, std::int64_t) { ending.flipped_from = peer; };
  Gradients gradients(job.problem);
  try {
    run_loopback(ranks, [&](Transport& transport) {
      if (transport.rank() != hurt) return run_rank(transport, job, tensors, grad_out, gradients);
      const auto flipping = faulty_transport(transport, faults);
      run_rank(*flipping, job, tensors, grad_out, gradients);
    });
  } catch (const std::runtime_error& error) {
    ending.message = error.what();
  }
  return ending;
}

}  // namespace

TEST_CASE("a bit that flips in any message of a call ends the job, cells as well as shares of gradients, and names the sender") {
  constexpr int kRanks = 3, kHurt = 1;
  for (const StrategyChoice strategy : {StrategyChoice(Strategy::ring), StrategyChoice(Strategy::ulysses)}) {
    for (const Backward way : {Backward::keys_travel, Backward::queries_travel}) {
      if (!can_go_backward(strategy.kind, way)) continue;
      Job job = causal_job(3, 3);
      job.options.strategy = strategy, job.options.backward = way;
      job.options.unit_tokens = 0;
      job.options.sharing = Sharing::off;
      job.options.integrity = Integrity::checked;
      const Tensors tensors = random_tensors(job.problem, 1, 1.5);
      const std::vector<float> grad_out = random_grad_out(job.problem, 2, 1.5);
      std::int64_t messages = 0;
      for (;; ++messages) {
        const Faults faults{.seed = static_cast<std::uint64_t>(messages), .flip_after = messages};
        const auto [message, from] = end_of(job, tensors, grad_out, kRanks, kHurt, faults);
        if (from < 0) break;
        INFO(to_string(strategy) << ", " << to_string(way) << " travel, message " << messages << ": " << message);
        REQUIRE(message.starts_with("rank 1: the cell of unit "));
        CHECK(message.find("came from rank " + std::to_string(from) + " in stage ") != std::string::npos);
      }
      std::int64_t received = 0;
      const Layout layout(job.problem, job.options, kRanks);
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        const Program program = make_schedule(strategy, layout, job.options, pass)(kHurt);
        for (const Instruction& instruction : program.instructions)
          if (instruction.op == Op::receive) received += instruction.run_count;
      }
      CHECK(messages == received);
    }
  }
}

TEST_CASE("checksums behind cells change no bit of a gradient") {
  Random random(32);
  for (int round = 0; round < 20; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 5));
    Job job = random_gradient_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    job.options.integrity = Integrity::unchecked;
    const Gradients expected = run_loopback_job(job, tensors, grad_out, ranks);
    job.options.integrity = Integrity::checked;
    CHECK(run_loopback_job(job, tensors, grad_out, ranks) == expected);
  }
}

TEST_CASE("what cannot give gradients is refused by name, on every rank") {
  const auto refusal = [](Backward backward, auto&& attempt) {
    std::vector<std::string> heard(2);
    run_loopback(2, [&](Transport& transport) {
      Job job = causal_job(2, 1);
      job.options.backward = backward;
      const GradientRows rows(job, random_tensors(job.problem, 1, 1), random_grad_out(job.problem, 1, 1), transport);
      try {
        attempt(transport, job, rows);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard[0] == heard[1]);
    return heard[0];
  };
  using Rows = const GradientRows&;
  for (const Strategy strategy : {Strategy::pass_query, Strategy::tree}) {
    for (const Backward backward : {Backward::automatic, Backward::keys_travel, Backward::queries_travel}) {
      const std::string message = refusal(backward, [&](Transport& transport, Job& job, Rows) {
        job.options.strategy = strategy;
        Attention(transport, job.problem, job.options);
      });
      CHECK(message.find("strategy " + to_string(strategy)) != std::string::npos);
    }
  }
  CHECK(refusal(Backward::queries_travel, [](Transport& transport, Job& job, Rows) {
          job.options.strategy = Strategy::ulysses;
          Attention(transport, job.problem, job.options);
        }).find("cannot let queries travel") != std::string::npos);
  CHECK(refusal(Backward::none, [](Transport& transport, Job& job, Rows rows) {
          Attention(transport, job.problem, job.options).backward(rows.backward());
        }).find("set Options::backward") != std::string::npos);
  CHECK(refusal(Backward::automatic, [](Transport& transport, Job& job, Rows) {
          if (transport.rank() == 1) job.options.backward = Backward::keys_travel;
          Attention(transport, job.problem, job.options);
        }).find("backward") != std::string::npos);
}

TEST_CASE("operands of a backward call that do not fit are refused by their names, on every rank") {
  const auto refusal = [](auto&& change) {
    std::vector<std::string> heard(2);
    run_loopback(2, [&](Transport& transport) {
      const Job job = causal_job(2, 1);
      const GradientRows rows(job, random_tensors(job.problem, 1, 1), random_grad_out(job.problem, 1, 1), transport);
      Attention attention(transport, job.problem, job.options);
      GradientOperands operands = rows.backward();
      if (transport.rank() == 1) change(operands);
      try {
        attention.backward(operands);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard[0] == heard[1]);
    return heard[0];
  };
  const auto starts = [](const std::string& text, const char* with) { return text.starts_with(with); };
  CHECK(starts(refusal([](GradientOperands& o) { ++o.queries.tokens; }), "queries is ["));
  CHECK(starts(refusal([](GradientOperands& o) { ++o.keys.heads; }), "keys is ["));
  CHECK(starts(refusal([](GradientOperands& o) { ++o.values.dim; }), "values is ["));
  CHECK(starts(refusal([](GradientOperands& o) { --o.out.tokens; }), "out is ["));
  CHECK(starts(refusal([](GradientOperands& o) { o.lse = nullptr; }), "lse is null"));
  CHECK(starts(refusal([](GradientOperands& o) { o.grad_out.data = nullptr; }), "grad_out is null"));
  CHECK(starts(refusal([](GradientOperands& o) { o.grad_queries.token_stride = 1; }), "grad_queries has strides"));
  CHECK(starts(refusal([](GradientOperands& o) { --o.grad_keys.dim; }), "grad_keys is ["));
  CHECK(starts(refusal([](GradientOperands& o) { o.grad_values.tokens = 0; }), "grad_values is ["));
  static const float kLogit[2] = {};
  CHECK(starts(refusal([](GradientOperands& o) { o.sinks = kLogit; }), "sinks are given"));
}

TEST_CASE("what travels backward is resolved: keys where many query heads share them, queries where none do and keys are wide") {
  const auto travels = [](int key_heads, Strategy strategy, int ranks) {
    Backward found = Backward::none;
    run_loopback(
        ranks,
        [&](Transport& transport) {
          Job job;
          job.problem.query_tokens = job.problem.key_tokens = 2048;
          job.problem.query_heads = 8, job.problem.key_heads = key_heads;
          job.options.strategy = strategy, job.options.backward = Backward::automatic;
          job.options.machine.link_bytes_per_second = job.options.machine.network.bytes_per_second = 1e7;  // nothing else counts
          const Attention attention(transport, job.problem, job.options);
          if (transport.rank() == 0) found = attention.travels_backward();
        },
        1);
    return found;
  };
  CHECK(travels(1, Strategy::ring, 4) == Backward::keys_travel);
  CHECK(travels(8, Strategy::ring, 4) == Backward::queries_travel);
  CHECK(travels(8, Strategy::ulysses, 4) == Backward::keys_travel);
  CHECK(travels(8, Strategy::ring, 1) == Backward::keys_travel);
  CHECK(travels(8, Strategy::automatic, 4) != Backward::none);
}
