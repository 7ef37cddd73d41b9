// What is chosen, why, and what is never chosen.
#include <string>
#include <vector>

#include "runtime/choose.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"
#include "support/programs.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

const std::string kMachines = GYRE_MACHINES;

Problem problem_of(std::int64_t queries, std::int64_t keys, int heads, int key_heads) {
  Problem problem;
  problem.query_tokens = queries, problem.key_tokens = keys;
  problem.query_heads = heads, problem.key_heads = key_heads;
  problem.head_dim = problem.value_dim = 128;
  problem.type = Type::bf16;
  return problem;
}

Choice choose(const Problem& problem, int ranks, int ranks_per_node, const Machine& machine, const Options& options = {}) {
  const Layout layout(problem, options, ranks);
  return choose_strategy(layout, options, nodes_of(ranks, ranks_per_node), machine);
}

}  // namespace

TEST_CASE("ranks that share memory take the ring, which sends nothing there") {
  const Choice choice = choose(problem_of(16384, 16384, 8, 8), 4, 4, default_machine());
  CHECK(choice.strategy == Strategy::ring);
  CHECK(choice.why.starts_with("ring, contiguous: "));
}

TEST_CASE("rings inside of nodes are chosen where a node has one link to the others") {
  Machine machine = read_machine(kMachines + "/h100-infiniband.json");
  machine.links_per_node = 1;
  const Choice choice = choose(problem_of(131072, 131072, 8, 8), 16, 8, machine);
  CHECK(choice.strategy == StrategyChoice(Strategy::double_ring, 8));
  CHECK(choice.why.starts_with("double_ring(8), contiguous: "));
}

TEST_CASE("many ranks of one large node take the ring without a simulation") {
  const Choice choice = choose(problem_of(8192, 8192, 2, 2), 65, 64, default_machine());
  CHECK(choice.strategy == Strategy::ring);
  CHECK(choice.why.starts_with("ring: more than 64 ranks on nodes of more than 8"));
}

TEST_CASE("up to 64 ranks of large nodes are modelled") {
  Machine machine = read_machine(kMachines + "/h100-infiniband.json");
  machine.links_per_node = 1;
  const Choice choice = choose(problem_of(262144, 262144, 8, 8), 64, 16, machine);
  INFO(choice.why);
  CHECK(choice.strategy != Strategy::ring);
  CHECK(choice.why.find(" instead of ") != std::string::npos);
}

TEST_CASE("a reason says what the winner has, that there is no other, that both take as long, or why the ring stays") {
  Prediction ring{.strategy = Strategy::ring, .partition = {PartitionChoice::Kind::zigzag}, .seconds = 1, .computing_seconds = 0.5};
  Prediction tree{.strategy = Strategy::tree, .partition = {PartitionChoice::Kind::zigzag}, .seconds = 2, .computing_seconds = 0.5};
  const auto why = [&] {
    const Prediction both[] = {ring, tree};
    return reason(both);
  };
  CHECK(reason({&ring, 1}) == "ring, zigzag: 1.000 s; no other strategy can do this");
  const std::string start = "ring, zigzag: 1.000 s; tree, zigzag takes 2.000 s: the first is faster because ";
  tree.computing_seconds = 1.5;
  CHECK(why() == start + "its busiest rank attends for 500 ms instead of 1.500 s");
  tree.computing_seconds = 0.5, tree.packing_seconds = 1;
  CHECK(why() == start + "it packs and joins cells for 0 us instead of 1.000 s");
  tree.packing_seconds = 0, tree.exposed_communication_seconds = 1.5, ring.exposed_communication_seconds = 0.5;
  CHECK(why() == start + "it waits for communication for 500 ms instead of 1.500 s");
  ring.bytes_sent_per_rank = 1e6, tree.bytes_sent_per_rank = 3e15;
  CHECK(why() == start + "it waits for communication for 500 ms instead of 1.500 s, with 1 MB instead of 3 PB sent by a rank");
  ring.bytes_between_nodes = 10, tree.bytes_between_nodes = 2e3;
  CHECK(why() == start + "it waits for communication for 500 ms instead of 1.500 s, with 10 B instead of 2 kB between nodes");
  tree.seconds = 1.009;
  CHECK(why() == "ring, zigzag: 1.000 s; tree, zigzag takes 1.009 s, which is no real difference");
  tree.seconds = 0.97;
  CHECK(why() == "ring, zigzag: 1.000 s; tree, zigzag takes 970 ms, which is too little less to leave the ring for");
}

TEST_CASE("a query over keys that lie elsewhere goes to them") {
  const Choice choice = choose(problem_of(1, 1 << 20, 8, 8), 8, 1, default_machine());
  CHECK((choice.strategy == Strategy::tree || choice.strategy == Strategy::pass_query));
}

TEST_CASE("the ring is not left for less than a twentieth") {
  Random random(5);
  for (int round = 0; round < 60; ++round) {
    const int ranks = static_cast<int>(draw(random, 2, 9)), per_node = static_cast<int>(draw(random, 1, 4));
    const Job job = random_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks, " << per_node << " a node");
    const Layout layout(job.problem, job.options, ranks);
    const auto nodes = nodes_of(ranks, per_node);
    const Choice choice = choose_strategy(layout, job.options, nodes, default_machine());
    Options settled;
    settled.partition = layout.partition;
    settled.unit_tokens = job.options.unit_tokens;
    Predictor predictor(job.problem, settled, nodes, default_machine());
    const double ring = predictor.predict(Strategy::ring).seconds, chosen = predictor.predict(choice.strategy).seconds;
    CHECK((choice.strategy == Strategy::ring || chosen <= 0.95 * ring));
    if (choice.strategy == Strategy::ring) continue;
    for (const StrategyChoice other : predictor.candidates()) CHECK(chosen <= predictor.predict(other).seconds);
  }
}

TEST_CASE("threads, prefetch, sharing and integrity do not change what is chosen, since they change no bit") {
  const Problem problem = problem_of(8192, 8192, 16, 4);
  Options others;
  others.threads = 7, others.prefetch = 3, others.sharing = Sharing::off, others.integrity = Integrity::checked;
  const Choice a = choose(problem, 8, 2, default_machine()), b = choose(problem, 8, 2, default_machine(), others);
  CHECK(a.strategy == b.strategy);
  CHECK(a.why == b.why);
}

TEST_CASE("what does not fit in a rank's memory is left out by name") {
  Machine machine = default_machine();
  machine.memory_bytes_per_rank = 40e6;
  Predictor predictor(problem_of(65536, 65536, 8, 2), {}, nodes_of(8, 2), machine);
  const Considered considered = consider(predictor, machine);
  for (const Prediction& prediction : considered.best_first) CHECK(prediction.memory_bytes_per_rank <= 40e6);
  REQUIRE(!considered.left_out.empty());
  CHECK(considered.left_out.back().starts_with("tree, "));
  CHECK(considered.left_out.back().ends_with("and has 40 MB"));
}

TEST_CASE("the best of a large job is one that was predicted with more pains, and none that was not is sooner") {
  const Problem problem = problem_of(65536, 65536, 8, 4);
  const Machine machine = read_machine(kMachines + "/cpu-100gbe.json");
  constexpr Effort kQuick{.most_whole = 16, .least_projected = 4, .most_projected = 32}, kCareful{.most_whole = 64};
  Options options;
  options.partition = PartitionChoice::parse("zigzag");
  const auto predictor = [&](Effort effort) { return Predictor(problem, options, nodes_of(64, 1), machine, effort); };
  Predictor quick = predictor(kQuick), careful = predictor(kCareful);
  Considered considered = consider(quick, machine);
  const std::size_t count = considered.best_first.size();
  look_again(
      considered, machine, [&](const PartitionChoice&) { return predictor(kCareful); }, 100);
  REQUIRE(considered.best_first.size() + considered.left_out.size() == count);
  const Prediction& best = considered.best_first.front();
  CHECK(best.simulated_ranks == 64);
  CHECK(best.seconds == careful.predict(best.strategy).seconds);
  for (const Prediction& other : considered.best_first) CHECK(other.seconds >= best.seconds);
  CHECK(considered.best_first.back().simulated_ranks < 64);
}

TEST_CASE(
    "where gradients are asked for, strategies that give them are compared by the time of both calls, each by its better way") {
  Random random(6);
  for (int round = 0; round < 20; ++round) {
    const int ranks = static_cast<int>(draw(random, 2, 9)), per_node = static_cast<int>(draw(random, 1, 4));
    Job job = random_job(random, ranks);
    INFO(job.text << ", " << ranks << " ranks, " << per_node << " a node");
    const auto nodes = nodes_of(ranks, per_node);
    const Layout layout(job.problem, job.options, ranks);
    Options settled;
    settled.partition = layout.partition, settled.unit_tokens = job.options.unit_tokens;
    const auto predictor = [&](Backward backward) {
      settled.backward = backward;
      return Predictor(job.problem, settled, nodes, default_machine());
    };
    Predictor forward = predictor(Backward::none), keys = predictor(Backward::keys_travel),
              queries = predictor(Backward::queries_travel), either = predictor(Backward::automatic);
    for (const StrategyChoice strategy : either.candidates()) {
      REQUIRE(can_go_backward(strategy.kind, Backward::automatic));
      const Prediction best = either.predict(strategy), by_keys = keys.predict(strategy);
      CHECK(by_keys.seconds > forward.predict(strategy).seconds);
      CHECK(best.seconds <= by_keys.seconds);
      if (!can_go_backward(strategy.kind, Backward::queries_travel)) continue;
      CHECK(best.seconds == std::min(by_keys.seconds, queries.predict(strategy).seconds));
    }
    for (const StrategyChoice strategy : queries.candidates()) CHECK(can_go_backward(strategy.kind, Backward::queries_travel));
    job.options.backward = Backward::automatic;
    const Choice choice = choose_strategy(layout, job.options, nodes, default_machine());
    CHECK(can_go_backward(choice.strategy.kind, choice.backward));
    CHECK((choice.backward == Backward::keys_travel || choice.backward == Backward::queries_travel));
  }
}

TEST_CASE("on large nodes, which are not modelled, what travels backward is what lets fewer bytes arrive") {
  Options options;
  options.backward = Backward::automatic;
  for (const int key_heads : {1, 16}) {
    const Layout layout(problem_of(65536, 65536, 16, key_heads), options, 80);
    CHECK(choose_backward(Strategy::ring, layout, options, nodes_of(80, 16), default_machine()) ==
          (key_heads == 1 ? Backward::keys_travel : Backward::queries_travel));
  }
}
