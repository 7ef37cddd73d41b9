// Programs without floats: the ring's shape, thinning, and the verifier against brute-force execution of mutated programs.
#include <algorithm>
#include <string>
#include <vector>

#include "runtime/borrowing.hpp"
#include "runtime/schedules/all_gather.hpp"
#include "runtime/schedules/ring.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/scoreboard.hpp"
#include "runtime/verify.hpp"
#include "support/brute_force.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"
#include "support/problems.hpp"
#include "support/programs.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

std::vector<Program> ring_programs(const Layout& layout, int prefetch = 1) {
  return programs_of(layout, ring_schedule(layout, prefetch));
}

std::vector<Program> job_programs(const Layout& layout, const Job& job, const std::vector<int>& nodes, Pass pass = Pass::forward) {
  return programs_of(layout, borrow_inside_nodes(make_schedule(job.options.strategy, layout, job.options, pass), layout, nodes));
}

/// A job whose strategy can go backward, one way or the other.
Job random_backward_job(Random& random, int ranks) {
  while (true) {
    Job job = random_job(random, ranks);
    job.options.backward = draw(random, 0, 1) == 0 ? Backward::keys_travel : Backward::queries_travel;
    if (!can_go_backward(job.options.strategy.kind, job.options.backward)) continue;
    job.text += ", " + to_string(job.options.backward) + " travel backward";
    return job;
  }
}

}  // namespace

TEST_CASE("every random program is proven by the verifier and computes every pair once under random timings") {
  Random random(11);
  for (int round = 0; round < 300; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Layout layout(job.problem, job.options, ranks);
    const auto nodes = nodes_of(ranks, static_cast<int>(draw(random, 1, ranks)));
    const auto programs = job_programs(layout, job, nodes);
    const Verdict verdict = verify(layout, programs, nodes);
    CHECK(first_problem(verdict) == "");
    if (round % 3 == 0) CHECK(brute_force(layout, programs, random(), nodes) == "");
  }
}

TEST_CASE("every random backward program is proven, and adds every pair once to the gradients of its query and of its key") {
  Random random(12);
  for (int round = 0; round < 300; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_backward_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks");
    const Layout layout(job.problem, job.options, ranks);
    const auto nodes = nodes_of(ranks, static_cast<int>(draw(random, 1, ranks)));
    const auto programs = job_programs(layout, job, nodes, Pass::backward);
    const Verdict verdict = verify(layout, programs, nodes);
    CHECK(first_problem(verdict) == "");
    if (round % 3 == 0) CHECK(brute_force(layout, programs, random(), nodes) == "");
  }
}

TEST_CASE("thousands of short documents beside a mask that sees far lay out in as many units as that mask alone") {
  std::string ones = "documents(1", pairs = "documents(2";
  for (int document = 1; document < 5000; ++document) ones += ",1", pairs += document < 2500 ? ",2" : "";
  for (const std::string wide : {"full", "causal", "window(3000)"}) {
    const Layout alone(self_attention(5000, wide.c_str()), {}, 8);
    for (const std::string& documents : {ones, pairs}) {
      const Layout both(self_attention(5000, (wide + " | " + documents + ")").c_str()), {}, 8);
      CHECK(both.key_units.count() == alone.key_units.count());
      CHECK(both.query_units.count() == alone.query_units.count());
      CHECK(first_problem(verify(both, ring_programs(both))) == "");
    }
  }
}

TEST_CASE("inside one node nothing is sent, and what is borrowed is what is attended") {
  for (const Strategy strategy : {Strategy::ring, Strategy::all_gather}) {
    const int ranks = 6;
    const Layout layout(self_attention(64 * 16, "full"), {}, ranks);
    const auto nodes = nodes_of(ranks, ranks);
    const auto programs = programs_of(layout, borrow_inside_nodes(make_schedule(strategy, layout, {}), layout, nodes));
    const Verdict verdict = verify(layout, programs, nodes);
    REQUIRE(first_problem(verdict) == "");
    CHECK(verdict.messages == 0);
    const std::int64_t all_keys =
        layout.run_bytes(Role::key_value, CellRun{0, static_cast<std::uint32_t>(layout.key_units.count()), 0, 1});
    CHECK(verdict.bytes_borrowed == static_cast<std::uint64_t>(all_keys) * (ranks - 1));
    const auto rows = runs_of_units(layout.query_units_of(0), 1);
    CHECK(programs[0].arena_bytes == layout.run_bytes(Role::query, rows) + layout.run_bytes(Role::partial, rows));
  }
}

TEST_CASE("a full ring over two nodes borrows inside them and sends between them as before") {
  const Layout layout(self_attention(64 * 16, "full"), {}, 4);
  const auto nodes = nodes_of(4, 2);
  const auto programs = programs_of(layout, borrow_inside_nodes(ring_schedule(layout, 1), layout, nodes));
  const Verdict verdict = verify(layout, programs, nodes);
  REQUIRE(first_problem(verdict) == "");
  for (const Program& program : programs) {
    CHECK(count(program, Op::borrow) == 1);   // from the other rank of the node
    CHECK(count(program, Op::receive) == 2);  // from the other node's two
  }
}

namespace {

struct ManyRanks {
  const char* mask;
  const char* partition;
  StrategyChoice strategy = Strategy::ring;
  int ranks_per_node = 1;
  std::int64_t query_tokens = 1 << 20;
  int heads = 1;
  Backward backward = Backward::none;  // its pass, if that is not `none`
};

void prove_1024_ranks(const ManyRanks& c) {
  INFO(c.mask << ", " << c.partition << ", " << to_string(c.strategy) << ", " << c.ranks_per_node << " ranks a node");
  Options options;
  options.partition = PartitionChoice::parse(c.partition);
  options.unit_tokens = 512;
  Problem problem = self_attention(1 << 20, c.mask);
  problem.query_tokens = c.query_tokens;
  problem.query_heads = problem.key_heads = c.heads;
  const Layout layout(problem, options, 1024);
  const auto nodes = nodes_of(1024, c.ranks_per_node);
  options.backward = c.backward;
  const Pass pass = c.backward == Backward::none ? Pass::forward : Pass::backward;
  const auto programs = programs_of(layout, borrow_inside_nodes(make_schedule(c.strategy, layout, options, pass), layout, nodes));
  const Verdict verdict = verify(layout, programs, nodes);
  CHECK(first_problem(verdict) == "");
  CHECK(verdict.messages > 0);
}

}  // namespace

TEST_CASE("programs of 1,024 ranks are proven in one process", "[slow]") {
  prove_1024_ranks({"causal", "zigzag"});
  prove_1024_ranks({"window(4096) | sinks(4)", "contiguous", Strategy::ring, 8});
  prove_1024_ranks({"window(65536)", "contiguous", Strategy::all_gather, 8});
  prove_1024_ranks({"window(65536)", "contiguous", {Strategy::double_ring, 32}, 8});
  prove_1024_ranks({"window(65536)", "contiguous", Strategy::bidirectional_ring});
  prove_1024_ranks({"window(65536)", "contiguous", {Strategy::hybrid, 8}, 8, 1 << 20, 8});
  prove_1024_ranks({"causal", "contiguous", Strategy::pass_query, 1, 4096});
  prove_1024_ranks({"causal", "contiguous", Strategy::tree, 1, 16});
}

TEST_CASE("backward programs of 1,024 ranks are proven in one process", "[slow]") {
  constexpr std::int64_t kTokens = 1 << 20;
  prove_1024_ranks({"window(4096) | sinks(4)", "contiguous", Strategy::ring, 8, kTokens, 1, Backward::keys_travel});
  prove_1024_ranks({"window(65536)", "contiguous", Strategy::all_gather, 8, kTokens, 1, Backward::queries_travel});
  prove_1024_ranks({"window(65536)", "contiguous", {Strategy::double_ring, 32}, 8, kTokens, 1, Backward::keys_travel});
  prove_1024_ranks({"window(65536)", "contiguous", Strategy::bidirectional_ring, 1, kTokens, 1, Backward::queries_travel});
  prove_1024_ranks({"window(65536)", "contiguous", {Strategy::hybrid, 8}, 8, kTokens, 8, Backward::keys_travel});
}

TEST_CASE("programs of 1,024 ranks that all exchange with all are proven in one process", "[.long]") {
  for (const int ranks_per_node : {1, 8}) {
    for (const StrategyChoice strategy :
         {StrategyChoice(Strategy::ring), StrategyChoice(Strategy::all_gather), StrategyChoice(Strategy::bidirectional_ring),
          StrategyChoice(Strategy::double_ring, 16), StrategyChoice(Strategy::ulysses), StrategyChoice(Strategy::hybrid, 32),
          StrategyChoice(Strategy::pass_query)}) {
      prove_1024_ranks({"full", "contiguous", strategy, ranks_per_node});
      prove_1024_ranks({"causal", "zigzag", strategy, ranks_per_node});
      for (const Backward backward : {Backward::keys_travel, Backward::queries_travel}) {
        if (can_go_backward(strategy.kind, backward))
          prove_1024_ranks({"causal", "zigzag", strategy, ranks_per_node, 1 << 20, 1, backward});
      }
    }
    prove_1024_ranks({"full", "contiguous", Strategy::tree, ranks_per_node, 2048});
  }
}

namespace {

/// One random damage to one rank's program.
void mutate(std::vector<Program>& programs, const Layout& layout, Random& random) {
  Program& program = programs[random() % programs.size()];
  auto& instructions = program.instructions;
  const std::size_t at = random() % instructions.size();
  Instruction& instruction = instructions[at];
  const auto any_slot = [&] { return static_cast<SlotId>(random() % program.slots.size()); };
  switch (draw(random, 0, 13)) {
    case 0:
      instructions.erase(instructions.begin() + static_cast<std::ptrdiff_t>(at));
      return;
    case 1:
      instructions.insert(instructions.begin() + static_cast<std::ptrdiff_t>(at), Instruction(instruction));
      return;
    case 2:
      std::swap(instruction, instructions[random() % instructions.size()]);
      return;
    case 3:
      instruction.in[0] = any_slot();
      return;
    case 4:
      instruction.out = any_slot();
      return;
    case 5:
      instruction.peer = static_cast<int>(draw(random, -1, layout.ranks));
      return;
    case 6:
      instruction.lane = 1;
      return;
    case 7:
      if (!program.runs.empty())
        program.runs[random() % program.runs.size()].unit += static_cast<std::uint32_t>(draw(random, -1, 1));
      return;
    case 8:
      if (!program.runs.empty())
        program.runs[random() % program.runs.size()].units += static_cast<std::uint32_t>(draw(random, -1, 1));
      return;
    case 9:
      program.slots[any_slot()].offset += kAlignment * draw(random, -6, 6);
      return;
    case 10:
      if (instruction.run_count > 0) --instruction.run_count;
      return;
    case 11:
      if (instruction.run_count > 1) std::swap(program.runs[instruction.runs], program.runs[instruction.runs + 1]);
      return;
    case 13:
      if (instruction.op == Op::attend_backward) instruction.also_out = any_slot();
      return;
    case 12:
      if (!program.places.empty()) program.places[random() % program.places.size()] += kAlignment * draw(random, -2, 2);
      return;
  }
}

}  // namespace

namespace {

void judge_mutations(std::uint64_t seed, int rounds, Pass pass) {
  Random random(seed);
  int wrong = 0, right = 0, refused_though_right = 0;
  for (int round = 0; round < rounds; ++round) {
    Job job = pass == Pass::forward ? random_job(random) : random_backward_job(random, 0);
    job.problem.query_tokens = std::min<std::int64_t>(job.problem.query_tokens, 60);
    job.problem.key_tokens = job.problem.query_tokens;
    job.problem.query_offset = 0;
    job.problem.mask = Mask::parse(random_mask(random, job.problem), drawn_files());
    job.problem.head_dim = job.problem.value_dim = 4;
    job.options.unit_tokens = draw(random, 4, 12);
    const Layout layout(job.problem, job.options, static_cast<int>(draw(random, 2, 4)));
    const auto nodes = nodes_of(layout.ranks, static_cast<int>(draw(random, 1, layout.ranks)));
    auto programs = job_programs(layout, job, nodes, pass);
    for (std::int64_t damage = draw(random, 1, 2); damage > 0; --damage) mutate(programs, layout, random);
    const Verdict verdict = verify(layout, programs, nodes);
    std::string found;
    for (int timing = 0; timing < 6 && found.empty(); ++timing) found = brute_force(layout, programs, random(), nodes);
    INFO("round " << round << ": " << job.text << "; brute force: " << found << "; verifier: " << first_problem(verdict));
    if (!found.empty()) {
      ++wrong;
      CHECK_FALSE(verdict);
    } else {
      ++right;
      refused_though_right += verdict ? 0 : 1;
    }
  }
  INFO(wrong << " wrong, " << right << " right, of which " << refused_though_right << " refused all the same");
  CHECK(wrong * 3 > rounds);
  CHECK(right * 15 > rounds);
  // What is refused though it would do no harm: operands of a wrong role that are never looked at, slots outside the arena that
  // stay empty, finishing nothing. Everything else that runs well is accepted.
  CHECK(refused_though_right * 4 < right);
}

}  // namespace

TEST_CASE("whatever brute-force execution finds wrong in a mutated program, the verifier rejects") {
  judge_mutations(5, 1500, Pass::forward);
}

TEST_CASE("whatever brute-force execution finds wrong in a mutated backward program, the verifier rejects") {
  judge_mutations(7, 1000, Pass::backward);
}

TEST_CASE("whatever brute-force execution finds wrong in 60,000 mutated programs, the verifier rejects", "[.long]") {
  judge_mutations(6, 60000, Pass::forward);
  judge_mutations(8, 60000, Pass::backward);
}
