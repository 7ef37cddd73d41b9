// Layouts of the caller's own.
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

TEST_CASE("ranks with different layouts disagree, and a layout that is no partition is refused on every rank") {
  const auto heard_of = [](auto&& chunks_of) {
    std::vector<std::string> heard(3);
    run_loopback(3, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      Options options;
      options.partition = PartitionChoice::layout(chunks_of(transport.rank()));
      try {
        Attention(transport, problem, options);
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    CHECK(heard == std::vector<std::string>(3, heard[0]));
    return heard[0];
  };
  using Chunks = std::vector<Chunk>;
  const std::string differ = heard_of([](int rank) { return Chunks{{{0, 40}, rank == 2}, {{40, 100}, 2}}; });
  CHECK(differ.find("partition's chunks") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{41, 100}, 2}}; }).find("token 40 lies in no chunk") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{40, 100}, 3}}; }).find("3 ranks") != std::string::npos);
  CHECK(heard_of([](int) { return Chunks{{{0, 40}, 1}, {{40, 100}, 2}}; }).empty());
}

TEST_CASE("a caller's own layout keeps its rows where they are: ascending, cut nowhere but at its borders") {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 1000;
  Options options;
  options.partition = PartitionChoice::layout({{{700, 1000}, 0}, {{0, 13}, 0}, {{13, 14}, 2}, {{14, 700}, 0}, {{0, 0}, 1}},
                                              {{{0, 999}, 2}, {{999, 1000}, 1}});
  const Layout layout(problem, options, 4);
  using Ranges = std::vector<Range>;
  CHECK(rows_of(layout.query_units, layout.queries, 0) == Ranges{{0, 13}, {14, 1000}});
  CHECK(rows_of(layout.query_units, layout.queries, 1).empty());
  CHECK(rows_of(layout.query_units, layout.queries, 2) == Ranges{{13, 14}});
  CHECK(rows_of(layout.key_units, layout.keys, 1) == Ranges{{999, 1000}});
  CHECK(rows_of(layout.key_units, layout.keys, 2) == Ranges{{0, 999}});
  options.partition.key_chunks.clear();
  CHECK(Layout(problem, options, 4).keys == Layout(problem, options, 4).queries);
}

TEST_CASE("rows lie by head where heads of a group see different keys, and else by token") {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 100;
  problem.query_heads = 4, problem.key_heads = 2;
  const auto rows = [&](const char* mask) {
    problem.mask = Mask::parse(mask, drawn_files());
    return Layout(problem, {}, 2).cell_shape().rows;
  };
  CHECK(rows("causal") == RowOrder::by_token);
  CHECK(rows("blocks(drawn 1 1 10 10,10)") == RowOrder::by_token);
  CHECK(rows("blocks(drawn 1 4 10 10,10) & causal") == RowOrder::by_head);
  problem.key_heads = 4;
  CHECK(rows("blocks(drawn 1 4 10 10,10) & causal") == RowOrder::by_token);
}

TEST_CASE(
    "strided masks have residue order and units that suit it, unless scores count keys or the caller says how long units are") {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 32768;
  problem.mask = Mask::parse("strided(32) & causal");
  const Layout layout(problem, {}, 2);
  CHECK(layout.cell_shape().residues.stride == 32);
  CHECK(layout.key_units.unit_tokens() == 1024);
  CHECK(layout.query_units.unit_tokens() == 1024);
  Options options;
  options.unit_tokens = 256;
  CHECK(Layout(problem, options, 2).cell_shape().residues.stride == 32);
  CHECK(Layout(problem, options, 2).key_units.unit_tokens() == 256);
  options.unit_tokens = 32;
  CHECK(Layout(problem, options, 2).cell_shape().residues.stride == 1);
  problem.bias = PositionBias::alibi;
  CHECK(Layout(problem, {}, 2).cell_shape().residues.stride == 1);
  CHECK(Layout(problem, {}, 2).key_units.unit_tokens() == 512);
}
