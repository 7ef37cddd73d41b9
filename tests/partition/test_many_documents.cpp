// Thousands of documents of a few tokens beside masks that see far: what is dropped, and what is seen, against trees pair by pair.
#include <algorithm>

#include "expression.hpp"
#include "support/catch.hpp"

using gyre::Bands;
using gyre::Cover;
using gyre::Mask;
using gyre::Range;
using gyre::test::draw;
using gyre::test::Expression;
using gyre::test::random_lengths;

namespace {

constexpr int kHeads = 3;

/// One or two clauses that see far, some with teeth, some with blocks, beside the documents.
Expression beside(const std::vector<std::int64_t>& lengths, std::mt19937_64& random, std::int64_t tokens) {
  using Kind = Expression::Kind;
  Expression all{Kind::documents, lengths, {}};
  for (std::int64_t clauses = draw(random, 1, 2); clauses > 0; --clauses) {
    const Expression wide[] = {{Kind::full, {}, {}},
                               {Kind::causal, {}, {}},
                               {Kind::window, {draw(random, 1, 900), draw(random, 0, 90)}, {}},
                               {Kind::prefix, {draw(random, 1, tokens)}, {}},
                               {Kind::sinks, {draw(random, 1, 40)}, {}},
                               {Kind::dilated, {draw(random, 1, 300), draw(random, 2, 9)}, {}},
                               {Kind::strided, {draw(random, 2, 70)}, {}},
                               {Kind::documents, random_lengths(random, tokens, 1500), {}},
                               {Kind::blocks, {64, 64, draw(random, 0, 1'000'000), kHeads, tokens / 64 + 1, tokens / 64 + 1}, {}}};
    all = {draw(random, 0, 7) == 0 ? Kind::both : Kind::either, {}, {wide[draw(random, 0, 8)], std::move(all)}};
  }
  return all;
}

struct Tile {
  Range queries, keys;
};

/// Half of them by the diagonal, where documents are.
Tile random_tile(std::mt19937_64& random, std::int64_t tokens) {
  const std::int64_t query = draw(random, -9, tokens), near = std::clamp<std::int64_t>(query - 20, 0, tokens - 1);
  const std::int64_t key = draw(random, 0, 1) == 0 ? near : draw(random, 0, tokens - 1);
  return {{query, query + draw(random, 1, 20)}, {key, std::min(tokens, key + draw(random, 1, 60))}};
}

void check_tile(const Expression& expression, const Bands& bands, const Tile& tile) {
  std::vector<std::int64_t> lanes;
  std::vector<std::int32_t> heads;
  for (std::int64_t query = tile.queries.begin; query < tile.queries.end; ++query) {
    for (int head = 0; head < kHeads; ++head) lanes.push_back(query), heads.push_back(head);
  }
  std::vector<Range> touched;
  bands.keys_touched(tile.queries, tile.keys, touched);
  std::vector<std::uint64_t> marks(tile.keys.size());
  bands.mark(lanes, heads, tile.keys, marks);
  std::int64_t pairs = 0;
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    for (std::int64_t key = tile.keys.begin; key < tile.keys.end; ++key) {
      const bool expected = expression.visible(lanes[lane], key, heads[lane]);
      REQUIRE(bands.visible(lanes[lane], key, heads[lane]) == expected);
      REQUIRE((marks[key - tile.keys.begin] >> lane & 1) == expected);
      REQUIRE((!expected || std::any_of(touched.begin(), touched.end(), [&](Range range) { return range.contains(key); })));
      pairs += expected && heads[lane] < bands.heads();
    }
  }
  REQUIRE(bands.count(tile.queries, tile.keys) == pairs);
  const Cover cover = bands.cover(tile.queries, tile.keys);
  REQUIRE((cover == Cover::empty) == (pairs == 0));
  REQUIRE((cover != Cover::full || pairs == tile.queries.size() * tile.keys.size() * bands.heads()));
}

bool same_bands(const Mask& a, const Mask& b) {
  const auto left = a.bands().all(), right = b.bands().all();
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

}  // namespace

TEST_CASE("thousands of documents beside clauses that see far see what both see, tile by tile and head by head") {
  std::mt19937_64 random(23);
  const std::int64_t tokens = 4000;
  for (int round = 0; round < 60; ++round) {
    const Expression expression = beside(random_lengths(random, tokens, draw(random, 1, 3)), random, tokens);
    const Bands bands = expression.mask().bands();
    INFO(expression.text().substr(0, 200) << ", round " << round);
    for (int tile = 0; tile < 6; ++tile) check_tile(expression, bands, random_tile(random, tokens));
  }
}

TEST_CASE("documents inside a mask that sees them anyway are dropped, and others are counted beside it, thousands at a time") {
  std::mt19937_64 random(24);
  const std::int64_t tokens = 3000;
  const auto lengths = random_lengths(random, tokens, 3);
  const Mask documents = Mask::documents(lengths), ones = Mask::documents(std::vector<std::int64_t>(tokens, 1));
  CHECK(same_bands(Mask::full() | documents, Mask::full()));
  CHECK(same_bands(documents | Mask::full(), Mask::full()));
  CHECK(same_bands(Mask::causal() | ones, Mask::causal()));
  CHECK(same_bands(ones | Mask::strided(7), Mask::strided(7)));
  CHECK(same_bands(Mask::window(2, 2) | documents, Mask::window(2, 2)));

  std::int64_t ahead = 0;  // pairs with j > i
  for (const std::int64_t length : lengths) ahead += length * (length - 1) / 2;
  const Range all{0, tokens};
  CHECK((Mask::causal() | documents).bands().count(all, all) == tokens * (tokens + 1) / 2 + ahead);
  CHECK((Mask::window(2) | documents).bands().count(all, all) == tokens * 3 - 3 + ahead);
}
