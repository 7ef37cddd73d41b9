#include "partition/placement.hpp"

#include <cmath>

#include "expression.hpp"
#include "partition/mask.hpp"
#include "partition/work.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"

using gyre::Bands;
using gyre::CellRun;
using gyre::Mask;
using gyre::Needs;
using gyre::PartitionChoice;
using gyre::Placement;
using gyre::Range;
using gyre::Units;
using gyre::test::draw;

namespace {

std::vector<int> owners(const Placement& placement) {
  std::vector<int> owners;
  for (int unit = 0; unit < placement.units(); ++unit) owners.push_back(placement.owner(unit));
  return owners;
}

std::vector<std::int64_t> causal_work(const Units& units) {
  return gyre::count_work(Mask::causal().bands(), units, units, 0);
}

std::vector<Placement> every_placement(const Units& units, int ranks) {
  std::mt19937_64 random(units.count());
  std::vector<std::int64_t> work(units.count());
  for (std::int64_t& of_unit : work) of_unit = std::max<std::int64_t>(0, draw(random, -20, 1000));
  return {Placement::contiguous(units, ranks),
          Placement::zigzag(units, ranks),
          Placement::striped(units, ranks),
          Placement::balanced(units, ranks, work),
          Placement::zigzag_documents(units, ranks, work, std::vector<std::int64_t>{50, 70}),
          Placement::balanced(units, ranks, std::vector<std::int64_t>(units.count()))};
}

/// Lengths with P(length > x) = (least / x)^tail, cut to fit.
std::vector<std::int64_t> pareto_lengths(std::mt19937_64& random, std::int64_t tokens, double tail, double least) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<std::int64_t> lengths;
  for (; tokens > 0; tokens -= lengths.back()) {
    const double drawn = least / std::pow(1 - uniform(random), 1 / tail);
    lengths.push_back(static_cast<std::int64_t>(std::min(std::floor(drawn), static_cast<double>(tokens))));
  }
  return lengths;
}

// What runs say, cell by cell, must be what owners say.
void check_runs(const Placement& placement, int heads) {
  for (int rank = 0; rank < placement.ranks(); ++rank) {
    std::vector<int> held(static_cast<std::size_t>(placement.units()) * heads);
    std::int64_t previous = -1;
    for (const CellRun& run : placement.runs(rank, heads)) {
      REQUIRE((run.units > 0 && run.heads > 0));
      const std::int64_t first = std::int64_t{run.unit} * heads + run.head;
      REQUIRE(first > previous);
      previous = first;
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        for (int head = run.head; head < run.head + run.heads; ++head) ++held[unit * heads + head];
      }
    }
    for (int unit = 0; unit < placement.units(); ++unit) {
      for (int head = 0; head < heads; ++head) REQUIRE(held[unit * heads + head] == placement.holds(rank, unit, head));
    }
  }
}

}  // namespace

TEST_CASE("eight units on two ranks are owned as the header draws it") {
  const Units units(80, 10);
  CHECK(owners(Placement::contiguous(units, 2)) == std::vector<int>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(owners(Placement::zigzag(units, 2)) == std::vector<int>{0, 0, 1, 1, 1, 1, 0, 0});
  CHECK(owners(Placement::striped(units, 2)) == std::vector<int>{0, 1, 0, 1, 0, 1, 0, 1});
  CHECK(owners(Placement::striped(units, 2, 20)) == std::vector<int>{0, 0, 1, 1, 0, 0, 1, 1});
  const std::vector<std::int64_t> even{1, 1, 1, 1, 1, 1, 1, 1}, uneven{8, 1, 1, 1, 1, 1, 1, 2};
  CHECK(owners(Placement::balanced(units, 2, even)) == std::vector<int>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(gyre::work_by_rank(Placement::balanced(units, 2, uneven), uneven) == std::vector<std::int64_t>{8, 8});
}

TEST_CASE("units of unequal lengths are dealt by tokens") {
  const std::vector<std::int64_t> cuts{1, 2, 3, 4};
  const Units units(14, 10, cuts);  // four of 1, one of 10
  CHECK(owners(Placement::contiguous(units, 2)) == std::vector<int>{0, 0, 0, 0, 1});
  CHECK(owners(Placement::zigzag(units, 1)) == std::vector<int>{0, 0, 0, 0, 0});
}

TEST_CASE("every unit is owned by exactly one rank, and runs and tokens say the same") {
  std::mt19937_64 random(31);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t tokens = draw(random, 0, 300);
    const std::vector<std::int64_t> cuts{draw(random, 0, 300), draw(random, 0, 300)};
    const Units units(tokens, draw(random, 1, 30), cuts);
    const int ranks = static_cast<int>(draw(random, 1, 64));
    for (const Placement& placement : every_placement(units, ranks)) {
      REQUIRE((placement.ranks() == ranks && placement.units() == units.count() && placement.by_unit()));
      std::int64_t held = 0;
      for (int rank = 0; rank < ranks; ++rank) held += placement.tokens(units, rank);
      REQUIRE(held == tokens);
      for (const int owner : owners(placement)) REQUIRE((0 <= owner && owner < ranks));
      check_runs(placement, 3);
    }
  }
}

TEST_CASE("contiguous and zigzag keep every rank within a unit of its share") {
  for (const int ranks : {1, 2, 3, 5, 8, 64}) {
    for (const std::int64_t tokens : {1, 5, 64, 1000, 4096}) {
      const Units units(tokens, 16);
      for (int rank = 0; rank < ranks; ++rank) {
        const double share = static_cast<double>(tokens) / ranks;
        CHECK(std::abs(static_cast<double>(Placement::contiguous(units, ranks).tokens(units, rank)) - share) <= 16);
        CHECK(std::abs(static_cast<double>(Placement::zigzag(units, ranks).tokens(units, rank)) - share) <= 32);
      }
      const std::vector<int> ascending = owners(Placement::contiguous(units, ranks));
      CHECK(std::is_sorted(ascending.begin(), ascending.end()));
    }
  }
}

TEST_CASE("zigzag gives every rank equal causal work") {
  for (const int ranks : {1, 2, 3, 7, 16, 64}) {
    const Units units(8192 * ranks + 77, 128);
    const std::vector<std::int64_t> work = gyre::work_by_rank(Placement::zigzag(units, ranks), causal_work(units));
    CHECK(gyre::imbalance(work) < 1.04);
    if (ranks > 1) CHECK(gyre::imbalance(gyre::work_by_rank(Placement::contiguous(units, ranks), causal_work(units))) > 1.4);
  }
}

TEST_CASE("balanced is within 2% of equal work and 2 shares of tokens for windows, sinks, heavy-tailed documents and heads") {
  std::mt19937_64 random(34);
  for (const int ranks : {2, 3, 4, 8, 16, 32, 64}) {
    const std::int64_t unit = 64, tokens = 64 * unit * ranks;
    const auto pareto = [&](double tail) { return Mask::documents(pareto_lengths(random, tokens, tail, 40)); };
    const std::int64_t blocks = tokens / 256;
    const gyre::test::DrawnBlocks drawn{.seed = 1, .heads = 3, .rows = blocks, .columns = blocks};
    for (const Mask& mask : {Mask::causal(), Mask::window(tokens / 50) | Mask::sinks(4), Mask::window(100) | Mask::sinks(70),
                             Mask::causal() & Mask::prefix(tokens / 7), pareto(0.7) & Mask::causal(), pareto(1.1) & Mask::causal(),
                             pareto(1.6) & Mask::causal(), pareto(1.1) & (Mask::window(900) | Mask::sinks(2)), pareto(0.9),
                             Mask::blocks(gyre::test::drawn_table(drawn.name(), 256), drawn.name()) & Mask::causal()}) {
      const Units units(tokens, unit, mask.borders());
      const std::vector<std::int64_t> work = gyre::count_work(mask.bands(), units, units, 0);
      const Placement placement = Placement::balanced(units, ranks, work);
      INFO(ranks << " ranks, " << units.count() << " units, " << mask.text().substr(0, 60));
      CHECK(gyre::imbalance(gyre::work_by_rank(placement, work)) < 1.02);
      for (int rank = 0; rank < ranks; ++rank) REQUIRE(placement.tokens(units, rank) * ranks <= 2 * tokens);
    }
  }
}

namespace {

/// Bits of a row or a table, one in `one_in`.
std::vector<std::uint8_t> sparse_bits(std::mt19937_64& random, std::int64_t count, std::uint64_t one_in) {
  std::vector<std::uint8_t> bits(static_cast<std::size_t>(count));
  for (std::uint8_t& bit : bits) bit = random() % one_in == 0 ? 1 : 0;
  return bits;
}

}  // namespace

TEST_CASE(
    "balanced is within 3% of equal work for blocks of which 95% are empty and for columns with diagonals, "
    "of all queries or of chunks, at default units") {
  std::mt19937_64 random(36);
  const std::int64_t tokens = 131'072;
  const auto table = [&](std::int64_t queries, std::int64_t keys, std::uint64_t one_in) {
    const std::int64_t rows = queries == gyre::kEveryQuery ? 1 : tokens / queries, columns = tokens / keys;
    return gyre::BlockTable({.query_tokens = queries, .key_tokens = keys, .rows = rows, .columns = columns},
                            sparse_bits(random, rows * columns, one_in));
  };
  const Mask vertical = Mask::columns(table(gyre::kEveryQuery, 1, 65), "c"),
             slash = Mask::diagonals(table(gyre::kEveryQuery, 64, 20), "d");
  std::vector<gyre::BlockTable> slashes_of_chunks;
  while (slashes_of_chunks.size() < 8) slashes_of_chunks.push_back(table(gyre::kEveryQuery, 64, 20));
  const Mask in_chunks = Mask::blocks(table(16'384, 1, 65), "c") | Mask::diagonals(slashes_of_chunks, 16'384, "d");
  for (const Mask& mask :
       {Mask::blocks(table(64, 64, 20), "b") & Mask::causal(), Mask::blocks(table(128, 128, 20), "b") & Mask::causal(),
        Mask::blocks(table(256, 256, 20), "b") & Mask::causal(), (vertical | slash) & Mask::causal(), in_chunks & Mask::causal()}) {
    for (const auto& [ranks, wished] : {std::pair(2, 0), {2, 2048}, {4, 2048}, {16, 0}, {64, 0}}) {
      const Units units(tokens, gyre::default_unit_tokens(tokens, ranks, wished));
      const std::vector<std::int64_t> work = gyre::count_work(mask.bands(), units, units, 0);
      INFO(ranks << " ranks, " << units.count() << " units, " << mask.text());
      CHECK(gyre::imbalance(gyre::work_by_rank(Placement::balanced(units, ranks, work), work)) < 1.03);
    }
  }
}

TEST_CASE("a zigzag of documents gives every rank its share of each long one, and equal work of all together") {
  std::mt19937_64 random(35);
  for (const int ranks : {2, 3, 8, 32}) {
    const std::int64_t unit = 64, tokens = 64 * unit * ranks;
    for (const double tail : {0.7, 1.1, 1.6}) {
      const Mask mask = Mask::documents(pareto_lengths(random, tokens, tail, 40)) & Mask::causal();
      const std::vector<std::int64_t> borders(mask.borders().begin(), mask.borders().end());
      const Units units(tokens, unit, borders);
      const std::vector<std::int64_t> work = gyre::count_work(mask.bands(), units, units, 0);
      const Placement placement = Placement::zigzag_documents(units, ranks, work, borders);
      INFO(ranks << " ranks, tail " << tail);
      CHECK(gyre::imbalance(gyre::work_by_rank(placement, work)) < 1.06);
      for (std::size_t document = 1; document < borders.size(); ++document) {
        const Range own{borders[document - 1], borders[document]};
        if (own.size() < 2 * ranks * unit) continue;
        std::vector<std::int64_t> held(ranks);
        for (std::int64_t token = own.begin; token < own.end; ++token) ++held[placement.owner(units.unit_of(token))];
        const auto [least, most] = std::minmax_element(held.begin(), held.end());
        REQUIRE(*most - *least <= 4 * unit);
      }
    }
  }
  // Without documents it is a zigzag; two documents of eight units make two.
  const Units units(80, 10);
  const std::vector<std::int64_t> work{1, 2, 3, 4, 1, 2, 3, 4}, border{40};
  CHECK(owners(Placement::zigzag_documents(units, 2, causal_work(units), {})) == owners(Placement::zigzag(units, 2)));
  CHECK(owners(Placement::zigzag_documents(units, 2, work, border)) == std::vector<int>{0, 1, 1, 0, 0, 1, 1, 0});
  CHECK_THROWS_WITH(Placement::zigzag_documents(units, 2, std::vector<std::int64_t>{1}, border), Catch::Contains("1 units of 8"));
}

TEST_CASE("a caller's chunks are a placement if they cover every token once and end where units do") {
  const std::vector<std::int64_t> cuts{3, 7, 30};
  const Units units(40, 10, cuts);  // [0,3) [3,7) [7,17) [17,27) [27,30) [30,40)
  const auto place = [&](const std::vector<gyre::Chunk>& chunks) { return Placement::of_chunks(units, 3, chunks, "keys"); };
  CHECK(owners(place({{{30, 40}, 2}, {{0, 3}, 0}, {{7, 30}, 0}, {{7, 7}, 1}, {{3, 7}, 2}})) == std::vector<int>{0, 2, 0, 0, 0, 2});
  CHECK(place({{{0, 40}, 1}}).tokens(units, 1) == 40);
  CHECK(Placement::of_chunks(Units(0, 4), 3, {}, "keys").units() == 0);
  CHECK_THROWS_WITH(place({}), Catch::Contains("the layout of keys: token 0 lies in no chunk"));
  CHECK_THROWS_WITH(place({{{0, 30}, 1}}), Catch::Contains("token 30 lies in no chunk"));
  CHECK_THROWS_WITH(place({{{0, 3}, 1}, {{7, 40}, 1}}), Catch::Contains("token 3 lies in no chunk"));
  CHECK_THROWS_WITH(place({{{0, 7}, 1}, {{3, 40}, 1}}), Catch::Contains("token 3 lies in two chunks"));
  CHECK_THROWS_WITH(place({{{0, 40}, 1}, {{0, 40}, 1}}), Catch::Contains("token 0 lies in two chunks"));
  CHECK_THROWS_WITH(place({{{0, 41}, 1}}), Catch::Contains("[0, 41) are no part of 40"));
  CHECK_THROWS_WITH(place({{{-1, 40}, 1}}), Catch::Contains("[-1, 40)"));
  CHECK_THROWS_WITH(place({{{7, 3}, 1}}), Catch::Contains("[7, 3)"));
  CHECK_THROWS_WITH(place({{{0, 40}, 3}}), Catch::Contains("rank 3, but there are 3 ranks"));
  CHECK_THROWS_WITH(place({{{0, 40}, -1}}), Catch::Contains("rank -1"));
  CHECK_THROWS_WITH(place({{{0, 20}, 0}, {{20, 40}, 1}}), Catch::Contains("a unit crosses a border of tokens [0, 20)"));
}

TEST_CASE("a layout names one file, or one for queries and one for keys") {
  std::vector<std::string> read;
  const auto reader = [&](const std::string& path) {
    read.push_back(path);
    return std::vector<gyre::Chunk>{{{0, 5}, static_cast<int>(read.size())}};
  };
  const PartitionChoice one = PartitionChoice::parse("layout(a b.npy)", reader),
                        two = PartitionChoice::parse("layout(q,k)", reader);
  CHECK(read == std::vector<std::string>{"a b.npy", "q", "k"});
  CHECK(one.text() == "layout(a b.npy)");
  CHECK((one.query_chunks.size() == 1 && one.key_chunks.empty()));
  CHECK(two.text() == "layout(q,k)");
  CHECK((two.query_chunks[0].rank == 2 && two.key_chunks[0].rank == 3));
  CHECK(PartitionChoice::layout({{{0, 5}, 0}}).text() == "layout of 1 chunks");
  CHECK_THROWS_WITH(PartitionChoice::parse("layout(a)"), Catch::Contains("reads a file"));
  for (const char* text : {"layout()", "layout(,k)", "layout(q,)", "layout(q"}) {
    CHECK_THROWS_WITH(PartitionChoice::parse(text, reader), Catch::Contains("expected contiguous"));
  }
}

TEST_CASE("balanced keeps neighbours together where that is free: a window needs little of other ranks") {
  const Units units(1 << 16, 64);
  const Bands bands = Mask::window(500).bands();
  const std::vector<std::int64_t> work = gyre::count_work(bands, units, units, 0);
  const Placement placement = Placement::balanced(units, 8, work);
  const Needs needs(bands, units, units, 0, placement);
  for (int rank = 0; rank < 8; ++rank) {
    int foreign = 0;
    for (int unit = 0; unit < units.count(); ++unit) foreign += needs.needs(rank, unit) && placement.owner(unit) != rank;
    CHECK(foreign <= 16);
  }
}

TEST_CASE("balanced is within 2 % for causal work with 64 units a rank") {
  for (int ranks = 2; ranks <= 64; ++ranks) {
    const Units units(std::int64_t{64} * 32 * ranks - 13, 32);
    const std::vector<std::int64_t> work = causal_work(units);
    CHECK(gyre::imbalance(gyre::work_by_rank(Placement::balanced(units, ranks, work), work)) < 1.02);
  }
}

TEST_CASE("no rank gets more than twice the mean of tokens, or one unit, however uneven the work") {
  std::mt19937_64 random(32);
  for (int round = 0; round < 500; ++round) {
    const std::int64_t tokens = draw(random, 1, 400);
    std::vector<std::int64_t> cuts(draw(random, 0, 40));
    for (std::int64_t& cut : cuts) cut = draw(random, 0, tokens);
    const Units units(tokens, draw(random, 1, 400), cuts);
    const int ranks = static_cast<int>(draw(random, 1, 20));
    std::vector<std::int64_t> work(units.count());
    for (std::int64_t& of_unit : work) of_unit = draw(random, 0, 3) == 0 ? draw(random, 0, 100'000) : draw(random, 0, 1);
    const Placement placement = Placement::balanced(units, ranks, work);
    const std::vector<int> owner_of = owners(placement);
    for (int rank = 0; rank < ranks; ++rank) {
      const bool one_unit = std::count(owner_of.begin(), owner_of.end(), rank) <= 1;
      REQUIRE((one_unit || placement.tokens(units, rank) * ranks <= 2 * tokens));
    }
  }
}

TEST_CASE("units without work are spread by tokens") {
  const Units units(1000, 10);
  std::vector<std::int64_t> work(100);
  work[17] = 5;
  const Placement placement = Placement::balanced(units, 4, work);
  for (int rank = 0; rank < 4; ++rank) CHECK(std::abs(placement.tokens(units, rank) - 250) <= 62);
}

TEST_CASE("ranks beyond the units own nothing, and no tokens place nothing") {
  for (const Placement& placement : every_placement(Units(0, 8), 3)) {
    CHECK(placement.units() == 0);
    CHECK(placement.runs(2, 4).empty());
  }
  const Units three(3, 1);
  for (const Placement& placement : every_placement(three, 8)) {
    int idle = 0;
    for (int rank = 0; rank < 8; ++rank) idle += placement.tokens(three, rank) == 0;
    CHECK(idle >= 5);
  }
}

TEST_CASE("stripes of tokens follow cuts, and a unit across a border is refused") {
  const std::vector<std::int64_t> cuts{6, 12, 18};
  CHECK(owners(Placement::striped(Units(20, 4, cuts), 3, 6)) == std::vector<int>{0, 0, 1, 1, 2, 2, 0});
  CHECK_THROWS_WITH(Placement::striped(Units(20, 4), 3, 6), Catch::Contains("token 4") && Catch::Contains("cut units"));
  CHECK_THROWS_WITH(Placement::striped(Units(20, 4), 3, 0), Catch::Contains("0 tokens"));
}

TEST_CASE("owners by head make rectangles of consecutive heads, and replicated cells are everyone's") {
  // Two heads on rank 0, two on rank 1, everywhere; then a unit for all.
  const std::vector<std::int32_t> by_head{0, 0, 1, 1, 0, 0, 1, 1, -1, -1, -1, -1};
  const Placement placement(2, by_head, 4);
  CHECK_FALSE(placement.by_unit());
  CHECK(placement.runs(1, 4) == std::vector<CellRun>{{0, 2, 2, 2}, {2, 1, 0, 4}});
  check_runs(placement, 4);
  CHECK(Placement(3, {-1, -1, 2}).runs(0, 5) == std::vector<CellRun>{{0, 2, 0, 5}});
  CHECK(Placement(2, {0, 0, 1, 0}).runs(0, 5) == std::vector<CellRun>{{0, 2, 0, 5}, {3, 1, 0, 5}});
  CHECK_THROWS_WITH(placement.runs(0, 8), Catch::Contains("8 heads"));
  CHECK_THROWS_WITH(placement.tokens(Units(30, 10), 0), Catch::Contains("4 columns"));

  std::mt19937_64 random(33);
  for (int round = 0; round < 200; ++round) {
    const int heads = static_cast<int>(draw(random, 2, 6)), ranks = static_cast<int>(draw(random, 1, 3));
    std::vector<std::int32_t> drawn(draw(random, 0, 8) * heads);
    for (std::int32_t& owner : drawn) owner = static_cast<std::int32_t>(draw(random, -1, ranks - 1));
    check_runs(Placement(ranks, drawn, heads), heads);
  }
}

TEST_CASE("placements of wrong shape or owner are refused") {
  const Units units(10, 5);
  CHECK_THROWS_WITH(Placement(0, {}), Catch::Contains("0 ranks"));
  CHECK_THROWS_WITH(Placement(2, {0, 1, 0}, 2), Catch::Contains("3 owners for 2 heads"));
  CHECK_THROWS_WITH(Placement(2, {0, 2}), Catch::Contains("rank 2 of 2"));
  CHECK_THROWS_WITH(Placement(2, {0, -2}), Catch::Contains("rank -2"));
  CHECK_THROWS_WITH(Placement::zigzag(units, 0), Catch::Contains("0 ranks"));
  CHECK_THROWS_WITH(Placement::balanced(units, 2, std::vector<std::int64_t>{1}), Catch::Contains("1 units of 2"));
}

TEST_CASE("a partition choice parses to what it prints, and anything else is refused with the list") {
  for (const char* text :
       {"auto", "contiguous", "zigzag", "zigzag_documents", "striped", "striped(1)", "striped(4096)", "balanced"}) {
    CHECK(PartitionChoice::parse(text).text() == text);
  }
  CHECK(PartitionChoice::parse("striped(64)") == PartitionChoice{PartitionChoice::Kind::striped_tokens, 64});
  CHECK(PartitionChoice{}.text() == "auto");
  for (const char* text : {"", "zig", "Zigzag", "zigzag ", "striped()", "striped(0)", "striped(-4)", "striped(4", "striped(4x)",
                           "striped(4))", "striped(99999999999999999999)", "automatic"}) {
    CHECK_THROWS_WITH(PartitionChoice::parse(text),
                      Catch::StartsWith("partition \"" + std::string(text) + "\": expected contiguous, zigzag"));
  }
}
