// Predictions of large jobs from small ones, against the same jobs simulated whole.
#include <cmath>
#include <string>
#include <vector>

#include "runtime/predict.hpp"
#include "support/catch.hpp"
#include "support/programs.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

const std::string kMachines = GYRE_MACHINES;

Problem self_attention(std::int64_t tokens, const std::string& mask) {
  Problem problem;
  problem.query_tokens = problem.key_tokens = tokens;
  problem.query_heads = 16, problem.key_heads = 4;
  problem.head_dim = problem.value_dim = 128;
  problem.type = Type::bf16;
  problem.mask = Mask::parse(mask);
  return problem;
}

struct Compared {
  int ranks, ranks_per_node;
  const char* mask;
  const char* partition;
  const char* machine;
};

/// Of every strategy, or those. What a tree sends under a window grows by its depth: no sum of powers of the ranks.
void compare(const Compared& c, Effort smaller = {.most_projected = 64}, std::vector<StrategyChoice> strategies = {}) {
  constexpr double kTolerance = 0.1, kOfTree = 0.16, kOfMemory = 0.4;  // arenas depend on how units fall
  const Problem problem = self_attention(std::int64_t{c.ranks} * 2048, c.mask);
  Options options;
  options.partition = PartitionChoice::parse(c.partition);
  const Machine machine = read_machine(kMachines + "/" + c.machine + ".json");
  const std::vector<int> nodes = nodes_of(c.ranks, c.ranks_per_node);
  Predictor whole(problem, options, nodes, machine, {.most_whole = c.ranks}), projected(problem, options, nodes, machine, smaller);
  if (strategies.empty()) strategies = whole.candidates();
  for (const StrategyChoice strategy : strategies) {
    const double tolerance = strategy.kind == Strategy::tree ? kOfTree : kTolerance;
    INFO(to_string(strategy) << ", " << c.mask << ", " << c.partition << ", " << c.machine);
    const Prediction expected = whole.predict(strategy), found = projected.predict(strategy);
    REQUIRE(expected.simulated_ranks == c.ranks);
    if (found.simulated_ranks == c.ranks) continue;  // groups of which the smaller job would have too few
    CHECK(found.seconds == Approx(expected.seconds).epsilon(tolerance));
    CHECK(found.computing_seconds == Approx(expected.computing_seconds).epsilon(tolerance));
    CHECK(found.bytes_sent_per_rank == Approx(expected.bytes_sent_per_rank).epsilon(tolerance));
    CHECK(found.bytes_between_nodes == Approx(expected.bytes_between_nodes).epsilon(tolerance));
    CHECK(found.memory_bytes_per_rank == Approx(expected.memory_bytes_per_rank).epsilon(kOfMemory));
  }
}

}  // namespace

TEST_CASE("a job of 128 ranks is predicted from 16, 32 and 64 as it is simulated whole") {
  compare({128, 8, "causal", "zigzag", "h100-infiniband"});
}

TEST_CASE("predictions from smaller jobs hold for other masks, placements and machines", "[slow]") {
  compare({128, 8, "full", "contiguous", "h100-infiniband"});
  compare({128, 8, "full", "contiguous", "cpu-100gbe"});
  compare({128, 4, "causal", "zigzag", "cpu-100gbe"});
  compare({128, 2, "window(20000)", "contiguous", "zen4-vm"});
  compare({256, 8, "causal", "balanced", "h100-infiniband"});
}

// Simulated whole: a minute of processor time, and 4.6 GB.
TEST_CASE("rings and hybrids of 1,024 ranks are predicted from 16, 32 and 64", "[long]") {
  compare({1024, 8, "causal", "zigzag", "h100-infiniband"}, {},
          {Strategy::ring, {Strategy::double_ring, 8}, {Strategy::hybrid, 8}});
}
