// What schedules move: each needed cell once to each rank that needs it, by the ways that the papers describe.
#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <vector>

#include "partition/work.hpp"
#include "runtime/schedules/all_gather.hpp"
#include "runtime/schedules/hybrid.hpp"
#include "runtime/schedules/ring.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/verify.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"
#include "support/programs.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

std::vector<Program> ring_programs(const Layout& layout) {
  return programs_of(layout, ring_schedule(layout, 1));
}

/// Bytes of all cells of a role that a rank other than their owner needs, once for each of them.
std::uint64_t needed_bytes(const Layout& layout, Role role, const Needs& needs) {
  const Placement& owners = role == Role::key_value ? layout.keys : layout.queries;
  std::uint64_t bytes = 0;
  for (int unit = 0; unit < owners.units(); ++unit) {
    for (int head = 0; head < layout.problem.key_heads; ++head) {
      for (int rank = 0; rank < layout.ranks; ++rank) {
        if (rank != owners.owner(unit) && needs.needs(rank, unit, head)) bytes += layout.cell_bytes(role, unit);
      }
    }
  }
  return bytes;
}

Needs query_needs(const Layout& layout) {
  return Needs::of_queries(layout.bands(), layout.query_units, layout.key_units, layout.problem.first_query_position(), layout.keys,
                           {layout.problem.key_heads, layout.problem.group()});
}

}  // namespace

TEST_CASE("where keys travel, each cell goes once to each rank that sees it and to no other") {
  Random random(23);
  for (int round = 0; round < 120; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_job(random, ranks);
    const Layout layout(job.problem, job.options, ranks);
    for (const StrategyChoice strategy :
         {StrategyChoice(Strategy::ring), StrategyChoice(Strategy::bidirectional_ring), StrategyChoice(Strategy::all_gather),
          StrategyChoice(Strategy::double_ring, ranks), StrategyChoice(Strategy::double_ring, ranks % 2 == 0 ? 2 : 1)}) {
      INFO(job.text << ", " << ranks << " ranks, but " << to_string(strategy));
      const Verdict verdict = verify(layout, programs_of(layout, strategy));
      REQUIRE(first_problem(verdict) == "");
      CHECK(verdict.bytes_sent == needed_bytes(layout, Role::key_value, layout.needs));
    }
  }
}

TEST_CASE("with Ulysses a query goes once to who attends its head and its result comes back, as do the keys that are seen there") {
  Random random(24);
  for (int round = 0; round < 120; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8)), group = ranks % 2 == 0 && round % 2 == 0 ? 2 : ranks;
    const Job job = random_job(random, ranks);
    const Layout layout(job.problem, job.options, ranks);
    INFO(job.text << ", " << ranks << " ranks, but in groups of " << group);
    const Placement attending = heads_inside_groups(layout, group);
    std::uint64_t bytes =
        needed_bytes(layout, Role::key_value,
                     Needs(layout.bands(), layout.query_units, layout.key_units, layout.problem.first_query_position(), attending,
                           {layout.problem.key_heads, layout.problem.group()}));
    for (int unit = 0; unit < layout.query_units.count(); ++unit) {
      for (int head = 0; head < layout.problem.key_heads; ++head) {
        const int at = attending.owner(unit, head);
        CHECK(at / group == layout.queries.owner(unit) / group);
        if (at != layout.queries.owner(unit)) bytes += layout.cell_bytes(Role::query, unit) + layout.cell_bytes(Role::result, unit);
      }
    }
    const Verdict verdict = verify(layout, programs_of(layout, {Strategy::hybrid, group}));
    REQUIRE(first_problem(verdict) == "");
    CHECK(verdict.bytes_sent == bytes);
  }
}

TEST_CASE("where heads divide by the ranks of a group and all see the same, each rank attends its heads whole") {
  const Layout layout(self_attention(64 * 32, "causal", 8), {}, 4);
  for (const int group : {2, 4}) {
    const Placement attending = heads_inside_groups(layout, group);
    for (int unit = 0; unit < layout.query_units.count(); ++unit) {
      for (int head = 0; head < 8; ++head) CHECK(attending.owner(unit, head) % group == head / (8 / group));
    }
  }
}

TEST_CASE("work over heads is shared out to within a unit, whatever the numbers of heads and ranks") {
  for (const int heads : {1, 2, 3, 5, 8}) {
    for (const int ranks : {2, 3, 4, 8}) {
      const Layout layout(self_attention(64 * 64, "causal", heads), {}, ranks);
      const auto work = count_work(layout.bands(), layout.query_units, layout.key_units, 0);
      const Placement attending = heads_inside_groups(layout, ranks);
      std::vector<std::int64_t> of_rank(ranks);
      for (int unit = 0; unit < layout.query_units.count(); ++unit)
        for (int head = 0; head < heads; ++head) of_rank[attending.owner(unit, head)] += work[unit];
      const std::int64_t largest = *std::max_element(work.begin(), work.end());
      const auto [least, most] = std::minmax_element(of_rank.begin(), of_rank.end());
      INFO(heads << " heads, " << ranks << " ranks: " << *least << " to " << *most);
      CHECK(*most - *least <= 2 * largest);
    }
  }
}

TEST_CASE("with pass_query each query goes once to each rank with keys that it sees, its result comes back, and no key moves") {
  Random random(25);
  for (int round = 0; round < 120; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 8));
    const Job job = random_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks, but pass_query");
    const Layout layout(job.problem, job.options, ranks);
    const Needs needs = query_needs(layout);
    const Verdict verdict = verify(layout, programs_of(layout, Strategy::pass_query));
    REQUIRE(first_problem(verdict) == "");
    CHECK(verdict.bytes_sent == needed_bytes(layout, Role::query, needs) + needed_bytes(layout, Role::result, needs));
  }
}

TEST_CASE("a tree takes ceil(log2 P) rounds, and every rank but one sends one result") {
  for (const int ranks : {1, 2, 3, 5, 8, 13, 64}) {
    INFO(ranks << " ranks");
    Problem problem = self_attention(64 * 64, "full", 2);
    problem.query_tokens = 5;
    const Layout layout(problem, {}, ranks);
    const auto programs = programs_of(layout, Strategy::tree);
    const Verdict verdict = verify(layout, programs);
    REQUIRE(first_problem(verdict) == "");
    CHECK(verdict.messages == static_cast<std::uint64_t>(2 * (ranks - 1)));
    for (const Program& program : programs)
      for (const Instruction& i : program.instructions) CHECK(i.stage <= std::bit_width(static_cast<unsigned>(ranks - 1)));
  }
}

TEST_CASE("a bidirectional ring loads both directions alike") {
  for (const int heads : {1, 2, 3}) {
    const Layout layout(self_attention(64 * 64, "full", heads), {}, 8);
    for (const Program& program : programs_of(layout, Strategy::bidirectional_ring)) {
      std::int64_t forth = 0, back = 0;
      for (const Instruction& i : program.instructions) {
        if (i.op != Op::send) continue;
        REQUIRE((i.peer == (program.rank + 1) % 8 || i.peer == (program.rank + 7) % 8));
        (i.peer == (program.rank + 1) % 8 ? forth : back) += layout.run_bytes(Role::key_value, program.runs_of(i));
      }
      CHECK(forth == back);
    }
  }
}

TEST_CASE("a double ring asks for the next node's cells before the inner ring starts, and holds four slots of them") {
  const int ranks = 12, inner = 4;
  const Layout layout(self_attention(64 * 48, "full"), {}, ranks);
  const auto programs = programs_of(layout, {Strategy::double_ring, inner});
  REQUIRE(first_problem(verify(layout, programs)) == "");
  for (const Program& program : programs) {
    int between = 0;  // what comes from the node before
    for (std::size_t at = 0; at < program.instructions.size(); ++at) {
      const Instruction& receive = program.instructions[at];
      if (receive.op != Op::receive || receive.peer / inner == program.rank / inner) continue;
      ++between;
      const auto attends = std::count_if(program.instructions.begin() + static_cast<std::ptrdiff_t>(at), program.instructions.end(),
                                         [&](const Instruction& i) { return i.op == Op::attend && i.stage < receive.stage; });
      CHECK(attends == inner);
    }
    CHECK(between == ranks / inner - 1);
    const auto runs = runs_of_units(layout.query_units_of(program.rank), 1),
               keys = runs_of_units(layout.key_units_of(program.rank), 1);
    CHECK(program.arena_bytes == layout.run_bytes(Role::query, runs) + layout.run_bytes(Role::partial, runs) +
                                     5 * layout.run_bytes(Role::key_value, keys));
  }
}

TEST_CASE("strategies are read by name and number, and groups that do not divide the ranks are refused naming those that do") {
  for (const char* text : {"auto", "ring", "bidirectional_ring", "double_ring", "double_ring(4)", "all_gather", "ulysses",
                           "hybrid(2)", "pass_query", "tree"}) {
    CHECK(to_string(parse_strategy(text)) == text);
  }
  CHECK_THROWS_WITH(parse_strategy("spiral"), Catch::Contains("'spiral' is unknown") && Catch::Contains("hybrid(U)"));
  CHECK_THROWS_WITH(parse_strategy("ring(2)"), Catch::Contains("takes none"));
  for (const char* text :
       {"hybrid", "hybrid(", "hybrid()", "hybrid(0)", "hybrid(-1)", "hybrid(x)", "hybrid(2", "hybrid(99999999999)"})
    CHECK_THROWS_WITH(parse_strategy(text), Catch::Contains("give hybrid(4)"));
  const std::vector<int> pairs{0, 0, 1, 1}, uneven{0, 0, 0, 1}, mixed{0, 1, 0, 1}, one(8, 0);
  CHECK(resolve(Strategy::double_ring, pairs) == StrategyChoice(Strategy::double_ring, 2));
  CHECK_THROWS_WITH(resolve(Strategy::double_ring, uneven), Catch::Contains("double_ring(INNER)"));
  CHECK_THROWS_WITH(resolve(Strategy::double_ring, mixed), Catch::Contains("double_ring(INNER)"));
  CHECK_THROWS_WITH(resolve({Strategy::hybrid, 3}, one),
                    Catch::Contains("groups of 3 of 8 ranks") && Catch::Contains("1, 2, 4, 8"));
  CHECK_THROWS_WITH(resolve({Strategy::hybrid, 16}, one), Catch::Contains("groups of 16 of 8 ranks"));
}

TEST_CASE("a full ring of P ranks moves every key cell P - 1 times and no further") {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    const Layout layout(self_attention(64 * 16, "full"), {}, ranks);
    const Verdict verdict = verify(layout, ring_programs(layout));
    REQUIRE(first_problem(verdict) == "");
    const std::int64_t all_keys =
        layout.run_bytes(Role::key_value, CellRun{0, static_cast<std::uint32_t>(layout.key_units.count()), 0, 1});
    CHECK(verdict.bytes_sent == static_cast<std::uint64_t>(all_keys) * (ranks - 1));
  }
}

TEST_CASE("few steps go in pieces: the first leaves before the second is packed, and each is attended by itself") {
  const auto pieces_of = [](int ranks, int heads, std::int64_t piece_bytes) {
    Options options;
    options.unit_tokens = 64, options.piece_bytes = piece_bytes;
    const Layout layout(self_attention(64 * ranks * 16, "full", heads), options, ranks);
    const Program program = make_schedule(Strategy::ring, layout, options)(0);
    const auto is = [&](auto wanted) { return std::find_if(program.instructions.begin(), program.instructions.end(), wanted); };
    const auto first_sent = is([](const Instruction& i) { return i.op == Op::send; });
    const auto packs = [](const Instruction& i) { return i.function == Function::pack_key_value; };
    CHECK(std::count_if(program.instructions.begin(), first_sent, packs) == 1);
    const std::size_t packed = std::count_if(program.instructions.begin(), program.instructions.end(), packs);
    CHECK(count(program, Op::attend) == ranks * packed);
    CHECK(count(program, Op::receive) == (ranks - 1) * packed);
    CHECK((ranks - 1) * packed <= 16);
    return packed;
  };
  CHECK(pieces_of(2, 1, 1) == 16);
  CHECK(pieces_of(2, 4, 1) == 16);  // 4 heads, in 4 pieces each
  CHECK(pieces_of(3, 1, 1) == 8);
  CHECK(pieces_of(4, 2, 1) == 4);   // 2 heads, in 2 pieces each
  CHECK(pieces_of(4, 3, 1) == 3);   // and not 6 in each of 3 steps
  CHECK(pieces_of(2, 9, 1) == 9);   // and not 18
  CHECK(pieces_of(2, 3, 1) == 15);  // and not 18
  CHECK(pieces_of(17, 2, 1) == 1);
  const std::int64_t of_a_rank = std::int64_t{64} * 16 * 2 * 8 * 4;
  CHECK(pieces_of(2, 1, of_a_rank / 5) == 5);
  CHECK(pieces_of(2, 1, of_a_rank + 1) == 1);
}

TEST_CASE("a causal contiguous ring sends nothing to ranks that come before the keys") {
  Options options;
  options.partition = PartitionChoice::parse("contiguous");
  const Layout layout(self_attention(4096, "causal"), options, 4);
  const auto programs = ring_programs(layout);
  CHECK(count(programs[0], Op::receive) == 0);
  CHECK(count(programs[3], Op::receive) == 3);
  CHECK(count(programs[3], Op::send) == 0);
}

TEST_CASE("bytes of a window grow with the number of borders between ranks, and attends not at all") {
  Options options;
  options.partition = PartitionChoice::parse("contiguous");
  options.unit_tokens = 128;
  for (const int ranks : {4, 8, 32}) {
    const Layout layout(self_attention(1024 * ranks, "window(500)"), options, ranks);
    const auto programs = ring_programs(layout);
    const Verdict verdict = verify(layout, programs);
    REQUIRE(first_problem(verdict) == "");
    const std::int64_t reached = 4 * layout.cell_bytes(Role::key_value, 0);  // 500 tokens back: 4 units
    CHECK(verdict.bytes_sent == static_cast<std::uint64_t>(reached) * (ranks - 1));
    for (const Program& program : programs) {
      CHECK(count(program, Op::send) <= 1);
      CHECK(count(program, Op::attend) <= 2);
    }
  }
}

TEST_CASE("all_gather brings every key cell once to each rank, straight from its owner, and no owner is asked twice in a stage") {
  for (const int ranks : {2, 3, 8, 64}) {
    for (const int heads : {1, 8}) {
      INFO(ranks << " ranks, " << heads << " heads");
      Problem problem = self_attention(64 * 64 * 16, "full");
      problem.query_heads = problem.key_heads = heads;
      Options options;
      options.partition = PartitionChoice::parse("contiguous");
      options.unit_tokens = 64;
      const Layout layout(problem, options, ranks);
      const auto programs = programs_of(layout, all_gather_schedule(layout, 1));
      const Verdict verdict = verify(layout, programs);
      REQUIRE(first_problem(verdict) == "");
      const std::int64_t all_keys = layout.run_bytes(
          Role::key_value, CellRun{0, static_cast<std::uint32_t>(layout.key_units.count()), 0, static_cast<std::uint16_t>(heads)});
      CHECK(verdict.bytes_sent == static_cast<std::uint64_t>(all_keys) * (ranks - 1));
      std::map<std::pair<std::uint32_t, int>, int> asking;  // by stage and owner
      for (const Program& program : programs) {
        for (const Instruction& instruction : program.instructions) {
          if (instruction.op != Op::receive) continue;
          CHECK(asking.try_emplace({instruction.stage, instruction.peer}, program.rank).first->second == program.rank);
          for (const CellRun& run : program.runs_of(instruction))
            CHECK(layout.keys.owner(static_cast<int>(run.unit)) == instruction.peer);
        }
      }
      const std::int64_t rows = layout.run_bytes(Role::query, runs_of_units(layout.query_units_of(0), heads)) +
                                layout.run_bytes(Role::partial, runs_of_units(layout.query_units_of(0), heads));
      const std::int64_t share = all_keys / ranks + layout.cell_bytes(Role::key_value, 0) * heads;
      CHECK(programs[0].arena_bytes - rows <= (1 + 2) * share);  // its own, and one more than is fetched ahead
    }
  }
}

TEST_CASE(
    "backward, each gradient of a full ring makes as many hops as its cell, but for the first piece's, which makes one more") {
  for (const Backward backward : {Backward::keys_travel, Backward::queries_travel}) {
    constexpr int kRanks = 4;
    Options options;
    options.piece_bytes = 1;  // as many pieces as a step may have
    options.backward = backward;
    const Layout layout(self_attention(64 * 64, "full", 2, 16), options, kRanks);
    const auto programs = programs_of(layout, make_schedule(Strategy::ring, layout, options, Pass::backward));
    const bool keys = backward == Backward::keys_travel;
    const Role cell = keys ? Role::key_value : Role::backward_query;
    const Role share = keys ? Role::grad_key_value_share : Role::grad_query_share;
    std::int64_t cells = 0, shares = 0;
    for (const Program& program : programs) {
      for (const Instruction& instruction : program.instructions) {
        if (instruction.op != Op::send) continue;
        const Role role = program.slots[instruction.in[0]].role;
        CHECK((role == cell || role == share));
        (role == cell ? cells : shares) += layout.run_bytes(role, program.runs_of(instruction));
      }
    }
    const CellRun all{0, static_cast<std::uint32_t>(layout.key_units.count()), 0, 2};
    CHECK(cells == layout.run_bytes(cell, all) * (kRanks - 1));
    // 16 pieces in three steps are five of a step: the first is four or three units of 16 a rank, of one of two heads.
    CHECK(shares > layout.run_bytes(share, all) * (kRanks - 1));
    CHECK(shares * 10 < layout.run_bytes(share, all) * (kRanks - 1) * 11);
  }
}

TEST_CASE("backward a rank holds its cells, two steps of those that travel, two of their shares, and a fresh gradient") {
  constexpr int kRanks = 8;
  Options options;
  options.backward = Backward::keys_travel;
  const Layout layout(self_attention(64 * 64, "full", 1, 16), options, kRanks);
  const Program program = make_schedule(Strategy::ring, layout, options, Pass::backward)(3);
  const auto mine = runs_of_units(layout.key_units_of(3), 1);
  const auto bytes = [&](Role role) { return layout.run_bytes(role, mine); };
  CHECK(program.arena_bytes == bytes(Role::backward_query) + bytes(Role::grad_query) + 3 * bytes(Role::key_value) +
                                   2 * bytes(Role::grad_key_value_share) + bytes(Role::grad_key_value));
}

TEST_CASE("schedules for serving refuse to go backward, by name, and those that attend elsewhere refuse to let queries travel") {
  Options options;
  options.backward = Backward::queries_travel;
  const Layout layout(self_attention(256), options, 2);
  const auto refusal = [&](StrategyChoice strategy) {
    try {
      make_schedule(strategy, layout, options, Pass::backward);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(refusal(Strategy::tree), Catch::Contains("tree is for serving"));
  CHECK_THAT(refusal(Strategy::pass_query), Catch::Contains("pass_query is for serving"));
  CHECK_THAT(refusal(Strategy::ulysses), Catch::Contains("ulysses cannot let queries travel"));
  CHECK(refusal(Strategy::ring).empty());
}
