// Masks with tables of blocks, against their trees pair by pair.
#include <algorithm>

#include "expression.hpp"
#include "partition/work.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"

using gyre::Bands;
using gyre::BlockShape;
using gyre::BlockTable;
using gyre::Cover;
using gyre::kNoPosition;
using gyre::Mask;
using gyre::Range;
using gyre::test::draw;
using gyre::test::drawn_files;
using gyre::test::Expression;

namespace {

constexpr int kHeads = 3;

struct Tile {
  Range queries, keys, heads;
};

Tile random_tile(std::mt19937_64& random, std::int64_t key_tokens) {
  const std::int64_t query = draw(random, -14, 45), key = draw(random, 0, key_tokens - 1), head = draw(random, 0, kHeads - 1);
  return {{query, query + draw(random, 1, 12)}, {key, draw(random, key + 1, key_tokens)}, {head, draw(random, head + 1, kHeads)}};
}

void check_tile(const Expression& expression, const Bands& bands, std::int64_t first_query, const Tile& tile) {
  std::vector<Range> touched;
  bands.keys_touched(tile.queries, tile.keys, touched);
  std::int64_t pairs = 0, of_tile = 0;
  for (int head = 0; head < kHeads; ++head) {
    for (std::int64_t query = tile.queries.begin; query < tile.queries.end; ++query) {
      for (std::int64_t key = tile.keys.begin; key < tile.keys.end; ++key) {
        const bool expected = expression.visible(query, key, head, first_query);
        REQUIRE(bands.visible(query, key, head) == expected);
        REQUIRE((!expected || std::any_of(touched.begin(), touched.end(), [&](Range range) { return range.contains(key); })));
        pairs += expected && head < bands.heads();
        of_tile += expected && tile.heads.contains(head);
      }
    }
  }
  REQUIRE(bands.count(tile.queries, tile.keys) == pairs);
  REQUIRE((bands.cover(tile.queries, tile.keys) == Cover::empty) == (pairs == 0));
  const Cover cover = bands.cover(tile.queries, tile.keys, tile.heads);
  REQUIRE((cover == Cover::empty) == (of_tile == 0));
  REQUIRE((cover != Cover::full || of_tile == tile.queries.size() * tile.keys.size() * tile.heads.size()));
}

}  // namespace

TEST_CASE("random expressions with block tables see what their trees see, pair by pair and head by head") {
  std::mt19937_64 random(51);
  for (int round = 0; round < 1500; ++round) {
    const std::int64_t key_tokens = draw(random, 1, 40), first_query = draw(random, -12, 12);
    const Expression expression = gyre::test::random_expression(random, static_cast<int>(draw(random, 1, 6)), key_tokens, kHeads);
    INFO(expression.text() << ", first query at " << first_query);
    const Mask mask = expression.mask();
    const Bands bands = mask.bands_at(first_query);
    check_tile(expression, bands, first_query, {{-14, 45}, {0, key_tokens}, {0, kHeads}});
    for (int tile = 0; tile < 4; ++tile) check_tile(expression, bands, first_query, random_tile(random, key_tokens));
    const Mask parsed = Mask::parse(mask.text(), drawn_files());
    REQUIRE(parsed.text() == mask.text());
    REQUIRE(parsed.bands().all().size() == mask.bands().all().size());
    check_tile(expression, parsed.bands_at(first_query), first_query, random_tile(random, key_tokens));
  }
}

TEST_CASE("marks of blocks agree with visible for lanes of any head and position, and for long ranges of short blocks") {
  std::mt19937_64 random(52);
  for (int round = 0; round < 400; ++round) {
    Expression expression = gyre::test::random_expression(random, static_cast<int>(draw(random, 1, 4)), 700, kHeads);
    if (draw(random, 0, 1) == 0) {
      const std::int64_t block = draw(random, 1, 9);
      expression = {Expression::Kind::both,
                    {},
                    {Expression{Expression::Kind::blocks, {block, block, round, kHeads, 40 / block, 650 / block}, {}},
                     draw(random, 0, 1) == 0 ? expression : Expression{Expression::Kind::window, {600, 500}, {}}}};
    }
    INFO(expression.text());
    const std::int64_t first_query = draw(random, -9, 9);
    const Bands bands = expression.mask().bands_at(first_query);
    std::vector<std::int64_t> lanes(draw(random, 0, 64));
    std::vector<std::int32_t> heads(lanes.size());
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      lanes[lane] = draw(random, 0, 9) == 0 ? kNoPosition : draw(random, -15, 60);
      heads[lane] = static_cast<std::int32_t>(draw(random, 0, kHeads - 1));
    }
    const std::int64_t begin = draw(random, 0, 90);
    const Range keys{begin, begin + draw(random, 0, 600)};
    std::vector<std::uint64_t> out(keys.size() + 1, 0x5a5a5a5a5a5a5a5a);
    bands.mark(lanes, heads, keys, out);
    bool right = out[keys.size()] == 0x5a5a5a5a5a5a5a5a;
    for (std::int64_t key = keys.begin; key < keys.end; ++key) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const bool expected = lanes[lane] != kNoPosition && bands.visible(lanes[lane], key, heads[lane]);
        right = right && (out[key - keys.begin] >> lane & 1) == expected;
      }
    }
    REQUIRE(right);
  }
}

TEST_CASE("a full block is a full tile, for its own head only") {
  const std::vector<std::uint8_t> cells{1, 1, 0, 1, /* head 1 */ 0, 1, 0, 0};
  const Bands bands =
      Mask::blocks(BlockTable({.query_tokens = 8, .key_tokens = 8, .heads = 2, .rows = 2, .columns = 2}, cells), "t").bands_at(100);
  CHECK(bands.heads() == 2);
  CHECK(bands.cover({100, 108}, {0, 16}, {0, 1}) == Cover::full);
  CHECK(bands.cover({100, 108}, {0, 16}, {0, 2}) == Cover::partial);
  CHECK(bands.cover({100, 108}, {0, 8}, {1, 2}) == Cover::empty);
  CHECK(bands.cover({108, 116}, {0, 8}) == Cover::empty);
  CHECK(bands.cover({100, 117}, {8, 16}, {0, 1}) == Cover::partial);  // query 116 lies past the table
  CHECK(bands.cover({0, 100}, {0, 16}) == Cover::empty);
  CHECK(bands.count({100, 116}, {0, 16}) == 4 * 64);
  CHECK(bands.count({103, 110}, {7, 9}) == (5 * 2 + 2 * 1) + 5 * 1);
}

TEST_CASE("tables of one block length stay at it, others meet at the greatest common divisor, and the same table is kept once") {
  const auto blocks = [](const char* name, std::int64_t block) { return Mask::blocks(gyre::test::drawn_table(name, block), name); };
  const Bands same = (blocks("drawn 1 1 9 9", 6) & blocks("drawn 2 3 9 9", 6)).bands();
  REQUIRE(same.tables().size() == 1);
  CHECK(same.tables()[0]->shape() == gyre::BlockShape{.query_tokens = 6, .key_tokens = 6, .heads = 3, .rows = 9, .columns = 9});
  const Bands finer = (blocks("drawn 1 1 9 9", 6) & blocks("drawn 2 1 5 9", 9)).bands();
  REQUIRE(finer.tables().size() == 1);
  CHECK(finer.tables()[0]->shape() == gyre::BlockShape{.query_tokens = 3, .key_tokens = 3, .heads = 1, .rows = 15, .columns = 18});
  const Mask twice = blocks("drawn 1 1 9 9", 6) & Mask::causal() | blocks("drawn 1 1 9 9", 6) & Mask::window(3, 3);
  CHECK(twice.bands().tables().size() == 1);
  CHECK((blocks("drawn 1 1 9 9", 6) | Mask::full()).bands().tables().empty());
}

TEST_CASE("many documents share one table, and counting them stays exact") {
  std::mt19937_64 random(53);
  const std::vector<std::int64_t> lengths = gyre::test::random_lengths(random, 3000, 9);
  const Expression tree{
      Expression::Kind::both,
      {},
      {Expression{Expression::Kind::documents, lengths, {}}, Expression{Expression::Kind::blocks, {64, 64, 7, 1, 47, 47}, {}}}};
  const Bands bands = tree.mask().bands();
  CHECK(bands.tables().size() == 1);
  std::int64_t pairs = 0;
  for (std::int64_t begin = 0, document = 0; begin < 3000; begin += lengths[document++]) {
    for (std::int64_t query = begin; query < begin + lengths[document]; ++query) {
      for (std::int64_t key = begin; key < begin + lengths[document]; ++key) pairs += tree.operands[1].visible(query, key);
    }
  }
  CHECK(bands.count({0, 3000}, {0, 3000}) == pairs);
}

TEST_CASE("a hundred thousand tokens of blocks are counted by their bits") {
  const std::int64_t n = 100'000, block = 64, rows = 1563;
  const Mask mask = Mask::blocks(gyre::test::drawn_table("drawn 4 2 1563 1563", block), "t") & Mask::causal();
  const gyre::test::DrawnBlocks drawn{4, 2, rows, rows};
  std::int64_t pairs = 0;
  for (int head = 0; head < 2; ++head) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t height = std::min(block, n - row * block);
      for (std::int64_t column = 0; column < row; ++column) pairs += drawn.visible(head, row, column) ? height * block : 0;
      pairs += drawn.visible(head, row, row) ? height * (height + 1) / 2 : 0;
    }
  }
  CHECK(mask.bands().count({0, n}, {0, n}) == pairs);
}

namespace {

/// One row of bits, of which about one in `one_in` is set; in runs of `run`.
std::vector<std::uint8_t> drawn_row(std::mt19937_64& random, std::int64_t count, std::int64_t one_in, std::int64_t run) {
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(count));
  for (std::int64_t at = 0; at < count; ++at) {
    const bool set = at % run == 0 ? draw(random, 1, one_in) == 1 : cells[static_cast<std::size_t>(at - 1)] != 0;
    cells[static_cast<std::size_t>(at)] = set ? 1 : 0;
  }
  return cells;
}

BlockTable table_of_row(std::int64_t key_tokens, int heads, const std::vector<std::uint8_t>& cells) {
  return BlockTable({.query_tokens = gyre::kEveryQuery,
                     .key_tokens = key_tokens,
                     .heads = heads,
                     .rows = 1,
                     .columns = std::ssize(cells) / heads},
                    cells);
}

}  // namespace

TEST_CASE("columns, diagonals and blocks over each other are counted once, over thousands of tokens and words of bins") {
  std::mt19937_64 random(54);
  const std::int64_t n = 2500;
  for (const std::int64_t bin : {1, 7, 64}) {
    const std::int64_t bins = (n + bin - 1) / bin;
    const std::vector<std::uint8_t> columns = drawn_row(random, 2 * n, 25, 3), diagonals = drawn_row(random, 2 * bins, 5, 4),
                                    blocks = drawn_row(random, 40 * 40, 6, 1);
    const Mask mask = (Mask::columns(table_of_row(1, 2, columns), "c") | Mask::diagonals(table_of_row(bin, 2, diagonals), "d") |
                       Mask::blocks(BlockTable({.query_tokens = 64, .key_tokens = 64, .rows = 40, .columns = 40}, blocks), "b") |
                       Mask::strided(301)) &
                      Mask::causal();
    for (const auto& [queries, keys] : {std::pair{Range{0, n}, Range{0, n}}, std::pair{Range{1100, 1612}, Range{0, n}},
                                        std::pair{Range{777, 2222}, Range{313, 1888}}}) {
      std::int64_t pairs = 0;
      for (int head = 0; head < 2; ++head) {
        for (std::int64_t i = queries.begin; i < queries.end; ++i) {
          for (std::int64_t j = keys.begin; j < std::min(keys.end, i + 1); ++j) {
            pairs += columns[head * n + j] != 0 || diagonals[head * bins + (i - j) / bin] != 0 || (i - j) % 301 == 0 ||
                     blocks[i / 64 * 40 + j / 64] != 0;
          }
        }
      }
      INFO("bins of " << bin);
      CHECK(mask.bands().count(queries, keys) == pairs);
    }
  }
}

TEST_CASE("runs of queries may have diagonals and columns of their own, wherever the first query stands") {
  std::mt19937_64 random(57);
  const std::int64_t keys = 700, run = 93, bin = 16, bins = (keys + bin - 1) / bin;
  const std::int64_t queries = 400, runs = (queries + run - 1) / run;
  const std::vector<std::uint8_t> columns = drawn_row(random, 2 * runs * keys, 15, 2);
  std::vector<std::vector<std::uint8_t>> diagonals;
  std::vector<BlockTable> tables;
  for (std::int64_t k = 0; k < runs; ++k) {
    diagonals.push_back(drawn_row(random, 2 * bins, 6, 1));
    tables.push_back(table_of_row(bin, 2, diagonals.back()));
  }
  const gyre::BlockShape shape{.query_tokens = run, .key_tokens = 1, .heads = 2, .rows = runs, .columns = keys};
  const Mask mask = (Mask::blocks(BlockTable(shape, columns), "chosen") | Mask::diagonals(tables, run, "chosen")) & Mask::causal();
  CHECK_NOTHROW(mask.require_tables(queries, keys, 2));
  CHECK_THROWS_WITH(mask.require_tables(queries, keys + bin, 2), Catch::Contains("chosen"));
  for (const std::int64_t first : {0, 300, -20}) {
    const Bands bands = mask.bands_at(first);
    std::int64_t pairs = 0, wrong = 0;
    for (int head = 0; head < 2; ++head) {
      for (std::int64_t row = 0; row < queries; ++row) {
        const std::int64_t i = row + first, k = row / run;
        for (std::int64_t j = 0; j < keys; ++j) {
          const bool seen =
              j <= i && (columns[(head * runs + k) * keys + j] != 0 || diagonals[k][head * bins + (i - j) / bin] != 0);
          wrong += seen != bands.visible(i, j, head);
          pairs += seen;
        }
      }
    }
    INFO("first query at " << first);
    CHECK(wrong == 0);
    CHECK(bands.count(Range{0, queries} + first, {0, keys}) == pairs);
    for (std::int64_t row = 0; row < queries; row += 50) {
      const Range same = bands.same_columns(row + first, {.least_queries = 90, .most_keys = 1});
      CHECK(same == Range{row / run * run, (row / run + 1) * run} + first);
      std::vector<std::int64_t> shown;
      bands.columns(row + first, {0, keys}, {.least_queries = 90, .most_keys = 1}, {1, 2}, shown);
      std::vector<std::int64_t> expected;
      for (std::int64_t j = 0; j < keys; ++j) {
        if (columns[(runs + row / run) * keys + j] != 0) expected.push_back(j);
      }
      CHECK(shown == expected);
    }
  }
  CHECK_THROWS_WITH(Mask::diagonals(std::vector<BlockTable>{}, 4, "d"), Catch::Contains("there is none"));
  CHECK_THROWS_WITH(Mask::diagonals(tables, 0, "d"), Catch::Contains("the queries of each is 0"));
}

TEST_CASE("slices mean what MagiAttention says of their corners") {
  const auto seen = [](const gyre::Slice& slice) {
    const Bands bands = Mask::slices(std::span(&slice, 1), "s").bands();
    std::string rows;
    for (std::int64_t i = slice.queries.begin; i < slice.queries.end; ++i) {
      for (std::int64_t j = slice.keys.begin; j < slice.keys.end; ++j) rows += bands.visible(i, j) ? '1' : '0';
      rows += ' ';
    }
    CHECK(bands.count({-9, 99}, {0, 99}) == std::count(rows.begin(), rows.end(), '1'));
    return rows;
  };
  using enum gyre::SliceKind;
  CHECK(seen({{3, 5}, {7, 12}, full}) == "11111 11111 ");
  CHECK(seen({{3, 5}, {7, 12}, causal}) == "11110 11111 ");
  CHECK(seen({{3, 5}, {7, 12}, inverse_causal}) == "11111 01111 ");
  CHECK(seen({{3, 5}, {7, 12}, both}) == "11110 01111 ");
  CHECK(seen({{0, 5}, {4, 6}, both}) == "00 00 00 00 00 ");
  CHECK(seen({{0, 5}, {4, 6}, causal}) == "00 00 00 10 11 ");
  const gyre::Slice overlapping[] = {{{0, 4}, {0, 4}, full}, {{2, 6}, {2, 6}, causal}};
  CHECK(Mask::slices(overlapping, "s").bands().count({0, 9}, {0, 9}) == 16 + 10 - 3);
}

TEST_CASE("slices count rows from the first query, as blocks do, within any expression") {
  const gyre::Slice slice{{1, 3}, {0, 6}, gyre::SliceKind::causal};
  const Mask mask = Mask::slices(std::span(&slice, 1), "s") & Mask::window(4) | Mask::sinks(1);
  const Bands bands = mask.bands_at(10);  // rows 1 and 2 are at 11 and 12, and see keys up to 4 and 5
  CHECK(bands.count({0, 10}, {0, 40}) == 10);
  CHECK(!bands.visible(11, 4));
  CHECK(Mask::slices(std::span(&slice, 1), "s").bands_at(10).visible(11, 4));
  CHECK(!Mask::slices(std::span(&slice, 1), "s").bands_at(10).visible(11, 5));
  CHECK(Mask::slices(std::span(&slice, 1), "s").bands_at(10).visible(12, 5));
  CHECK((Mask::slices(std::span(&slice, 1), "s") & Mask::window(8)).bands_at(10).count({0, 40}, {0, 40}) == 2 + 2);
}

TEST_CASE("blocks that hold every query are divided by any others, whatever their length") {
  std::mt19937_64 random(55);
  const Mask both = Mask::columns(table_of_row(1, 1, drawn_row(random, 40, 2, 1)), "c") &
                    Mask::blocks(gyre::test::drawn_table("drawn 1 1 7 9", 7, 5), "b");
  REQUIRE(both.bands().tables().size() == 1);
  CHECK(both.bands().tables()[0]->shape() ==
        gyre::BlockShape{.query_tokens = 7, .key_tokens = 1, .heads = 1, .rows = 7, .columns = 40});
}

TEST_CASE("heads are alike by runs of so many, in every row of every table") {
  const auto bands_of = [](std::vector<std::uint8_t> cells) {
    const BlockShape shape{.query_tokens = 4, .key_tokens = 4, .heads = 4, .rows = 2, .columns = 2};
    return (Mask::blocks(BlockTable(shape, cells), "b") & Mask::causal()).bands();
  };
  const Bands pairs = bands_of({1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1});
  CHECK(pairs.heads_alike(1));
  CHECK(pairs.heads_alike(2));
  CHECK_FALSE(pairs.heads_alike(4));
  CHECK_FALSE(bands_of({1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0}).heads_alike(2));
  CHECK(Mask::parse("blocks(drawn 3 1 9 9,16) & causal", drawn_files()).bands().heads_alike(8));
  CHECK(Mask::causal().bands().heads_alike(8));
}

TEST_CASE("tables must fit tokens and heads, by name") {
  const auto refusal = [](const Mask& mask, std::int64_t queries, std::int64_t keys, int heads) -> std::string {
    try {
      mask.require_tables(queries, keys, heads);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  };
  const Mask mask = Mask::parse("causal & blocks(drawn 1 4 3 5,8) | window(3)", drawn_files());
  CHECK(refusal(mask, 17, 40, 4) == "no error");
  CHECK(refusal(mask, 24, 33, 4) == "no error");
  CHECK(refusal(mask, 25, 40, 4) == "drawn 1 4 3 5 is [3, 5] blocks of 8 tokens: for 25 queries and 40 keys it must be [4, 5]");
  CHECK_THAT(refusal(mask, 17, 32, 4), Catch::Contains("must be [3, 4]"));
  CHECK_THAT(refusal(mask, 17, 40, 8), Catch::Contains("blocks of 4 heads, but there are 8 query heads"));
  CHECK(refusal(Mask::parse("blocks(drawn 1 1 3 5,8)", drawn_files()), 17, 40, 8) == "no error");
  CHECK_THAT(refusal(Mask::parse("blocks(drawn 1 1 3 5,8,4)", drawn_files()), 24, 25, 1),
             Catch::Contains("is [3, 5] blocks of 8 x 4 tokens: for 24 queries and 25 keys it must be [3, 7]"));
  CHECK(refusal(Mask::parse("columns(drawn 1 4 1 5)", drawn_files()), 17, 5, 4) == "no error");
  CHECK_THAT(refusal(Mask::parse("columns(drawn 1 4 1 5)", drawn_files()), 17, 6, 4),
             Catch::Contains("has 5 columns: for 17 queries and 6 keys it must have 6"));
  CHECK_THAT(refusal(Mask::parse("columns(drawn 1 4 1 5)", drawn_files()), 17, 5, 1),
             Catch::Contains("columns of 4 heads, but there is 1"));
  CHECK(refusal(Mask::parse("diagonals(drawn 1 1 1 5,8)", drawn_files()), 17, 33, 4) == "no error");
  CHECK_THAT(refusal(Mask::parse("diagonals(drawn 1 1 1 5,8)", drawn_files()), 17, 41, 4),
             Catch::Contains("has 5 bins of diagonals: for 17 queries and 41 keys it must have 6"));
  CHECK_THAT(refusal(Mask::parse("slices(slices 1 50 30 20)", drawn_files()), 12, 20, 1),
             Catch::Contains("has slices up to query row 30 and key 20, both excluded: for 12 queries and 20 keys"));
  CHECK(refusal(Mask::parse("slices(slices 1 50 30 20)", drawn_files()), 30, 20, 1) == "no error");
  CHECK_THROWS_WITH(Mask::parse("blocks(drawn 1 2 3 5,8) | blocks(drawn 1 3 3 5,8)", drawn_files()),
                    Catch::Contains("2 and one of 3 heads"));
  CHECK_THROWS_WITH(Mask::parse("blocks(drawn 1 2 3 5,8) & blocks(drawn 1 3 3 5,8)", drawn_files()),
                    Catch::Contains("of 2 and of 3 heads"));
}

TEST_CASE("columns and diagonals of more than one row are refused, and slices that end before they begin") {
  CHECK_THROWS_WITH(Mask::columns(BlockTable({.query_tokens = 4, .rows = 2, .columns = 5}), "c"),
                    Catch::Contains("2 rows of 4 queries"));
  CHECK_THROWS_WITH(Mask::columns(BlockTable({.query_tokens = gyre::kEveryQuery, .key_tokens = 2, .rows = 1, .columns = 5}), "c"),
                    Catch::Contains("a column has 2 keys"));
  CHECK_THROWS_WITH(Mask::diagonals(BlockTable({.rows = 0, .columns = 5}), "d"), Catch::Contains("0 rows of 1 queries"));
  const gyre::Slice backwards{{4, 3}, {0, 1}};
  CHECK_THROWS_WITH(Mask::slices(std::span(&backwards, 1), "s"), Catch::Contains("queries from 4 to 3"));
}

TEST_CASE("tables without blocks, of a wrong size or too large are refused") {
  const auto table = [](gyre::BlockShape shape, std::size_t cells) { return BlockTable(shape, std::vector<std::uint8_t>(cells)); };
  CHECK_NOTHROW(table({.query_tokens = 3, .key_tokens = 3}, 0));
  CHECK_THROWS_WITH(table({.query_tokens = 0, .key_tokens = 0, .rows = 1, .columns = 1}, 1),
                    Catch::Contains("a block has 0 tokens"));
  CHECK_THROWS_WITH(table({.query_tokens = 1, .key_tokens = 1, .heads = 0, .rows = 1, .columns = 1}, 1),
                    Catch::Contains("at least 1 head"));
  CHECK_THROWS_WITH(table({.query_tokens = 1, .key_tokens = 1, .rows = -1, .columns = 1}, 1), Catch::Contains("[1, -1, 1]"));
  CHECK_THROWS_WITH(table({.query_tokens = 1, .key_tokens = 1, .rows = 2, .columns = 3}, 5), Catch::Contains("5 cells"));
  CHECK_THROWS_WITH(BlockTable({.query_tokens = 1, .key_tokens = 1, .rows = 1 << 18, .columns = 1 << 18}),
                    Catch::Contains("more than 2^34 bits"));
  const BlockTable a({.query_tokens = 1 << 20, .key_tokens = 1 << 20, .rows = 1 << 10, .columns = 1 << 10}),
      b({.query_tokens = (1 << 20) + 1, .key_tokens = (1 << 20) + 1, .rows = 1024, .columns = 1024});
  CHECK_THROWS_WITH(a & b, Catch::Contains("divide each other"));
  BlockTable filled({.query_tokens = 1, .key_tokens = 1, .rows = 2, .columns = 3});
  CHECK_THROWS_WITH(filled.show(0, 2, std::vector<std::uint8_t>(3)), Catch::Contains("row 2"));
  CHECK_THROWS_WITH(filled.show(0, 0, std::vector<std::uint8_t>(4)), Catch::Contains("4 columns"));
  CHECK_THROWS_WITH(filled.show(0, 0, std::vector<std::uint64_t>(2)), Catch::Contains("2 words"));
  CHECK_THROWS_WITH(filled.show(0, 0, std::vector<std::uint64_t>{8}), Catch::Contains("bits behind its last column"));
  filled.show(0, 1, std::vector<std::uint64_t>{5});
  CHECK(filled == BlockTable(filled.shape(), std::vector<std::uint8_t>{0, 0, 0, 1, 0, 1}));
}
