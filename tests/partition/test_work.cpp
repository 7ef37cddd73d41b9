#include "partition/work.hpp"

#include "expression.hpp"
#include "partition/mask.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"

using gyre::Mask;
using gyre::Needs;
using gyre::Placement;
using gyre::Range;
using gyre::Units;
using gyre::test::draw;
using gyre::test::Expression;

TEST_CASE("work, units seen and needs agree with pair by pair for random masks and offsets") {
  std::mt19937_64 random(41);
  for (int round = 0; round < 400; ++round) {
    const std::int64_t key_tokens = draw(random, 1, 40), query_tokens = draw(random, 1, 30), offset = draw(random, -20, 20);
    const Expression expression = gyre::test::random_expression(random, static_cast<int>(draw(random, 1, 4)), key_tokens);
    INFO(expression.text() << " offset " << offset);
    const Mask mask = expression.mask();
    const Units queries(query_tokens, draw(random, 1, 9)), keys(key_tokens, draw(random, 1, 9), mask.borders());
    const int ranks = static_cast<int>(draw(random, 1, 5));
    const Placement placement = Placement::zigzag(queries, ranks);

    const std::vector<std::int64_t> work = gyre::count_work(mask.bands(), queries, keys, offset);
    const Needs needs(mask.bands(), queries, keys, offset, placement);
    std::vector<std::vector<bool>> needed(ranks, std::vector<bool>(keys.count()));
    std::vector<std::int64_t> rank_work(ranks);
    for (int query_unit = 0; query_unit < queries.count(); ++query_unit) {
      const Range positions = queries.range(query_unit) + offset;
      std::vector<int> seen;
      std::int64_t pairs = 0;
      for (int key_unit = 0; key_unit < keys.count(); ++key_unit) {
        const std::int64_t before = pairs;
        for (std::int64_t query = positions.begin; query < positions.end; ++query) {
          for (std::int64_t key = keys.range(key_unit).begin; key < keys.range(key_unit).end; ++key)
            pairs += expression.visible(query, key);
        }
        if (pairs == before) continue;
        seen.push_back(key_unit);
        needed[placement.owner(query_unit)][key_unit] = true;
      }
      REQUIRE(work[query_unit] == pairs);
      REQUIRE(gyre::key_units_seen(mask.bands(), positions, keys) == seen);
      rank_work[placement.owner(query_unit)] += pairs;
    }
    REQUIRE(gyre::work_by_rank(placement, work) == rank_work);
    for (int rank = 0; rank < ranks; ++rank) {
      for (int key_unit = 0; key_unit < keys.count(); ++key_unit) REQUIRE(needs.needs(rank, key_unit) == needed[rank][key_unit]);
    }
  }
}

namespace {

/// A table per query head, so that heads see different keys.
Mask drawn_tables(std::mt19937_64& random, std::int64_t block, std::int64_t rows, std::int64_t columns, std::int64_t heads) {
  const gyre::test::DrawnBlocks drawn{random() % 1000, static_cast<int>(heads), rows, columns};
  return Mask::blocks(gyre::test::drawn_table(drawn.name(), block), drawn.name()) & Mask::causal();
}

}  // namespace

TEST_CASE("needs of keys and of queries tell heads apart where masks or placements do") {
  std::mt19937_64 random(43);
  for (int round = 0; round < 200; ++round) {
    const std::int64_t tokens = draw(random, 1, 30);
    const gyre::Heads heads{static_cast<int>(draw(random, 1, 3)), static_cast<int>(draw(random, 1, 2))};
    const std::int64_t block = draw(random, 1, 8), blocks = (tokens + block - 1) / block;
    const Mask mask = round % 2 == 0 ? Mask::causal() : drawn_tables(random, block, blocks, blocks, heads.count * heads.group);
    const gyre::Bands bands = mask.bands_at(0);
    const Units queries(tokens, draw(random, 1, 9)), keys(tokens, draw(random, 1, 9));
    const int ranks = static_cast<int>(draw(random, 1, 4));
    std::vector<std::int32_t> owners(static_cast<std::size_t>(queries.count()) * heads.count);
    for (auto& owner : owners) owner = static_cast<std::int32_t>(draw(random, 0, ranks - 1));
    const Placement attending(ranks, owners, heads.count), keys_at = Placement::striped(keys, ranks);
    const Needs of_keys(bands, queries, keys, 0, attending, heads);
    const Needs of_queries = Needs::of_queries(bands, queries, keys, 0, keys_at, heads);
    const auto sees = [&](int query_unit, int key_unit, int head) {
      bool seen = false;
      for (std::int64_t i = queries.range(query_unit).begin; i < queries.range(query_unit).end; ++i)
        for (std::int64_t j = keys.range(key_unit).begin; j < keys.range(key_unit).end; ++j)
          for (std::int64_t h = heads.queries_of(head).begin; h < heads.queries_of(head).end; ++h)
            seen = seen || bands.visible(i, j, static_cast<int>(h));
      return seen;
    };
    for (int rank = 0; rank < ranks; ++rank) {
      for (int head = 0; head < heads.count; ++head) {
        for (int key = 0; key < keys.count(); ++key) {
          bool needed = false;
          for (int query = 0; query < queries.count(); ++query)
            needed = needed || (attending.owner(query, head) == rank && sees(query, key, head));
          REQUIRE(of_keys.needs(rank, key, head) == needed);
        }
        for (int query = 0; query < queries.count(); ++query) {
          bool needed = false;
          for (int key = 0; key < keys.count(); ++key) needed = needed || (keys_at.owner(key) == rank && sees(query, key, head));
          REQUIRE(of_queries.needs(rank, query, head) == needed);
        }
      }
    }
  }
}

TEST_CASE("replicated queries are work and a need of every rank") {
  const Units units(20, 10);
  const Placement everywhere(3, {Placement::kEveryRank, 1});
  const std::vector<std::int64_t> work = gyre::count_work(Mask::causal().bands(), units, units, 0);
  CHECK(work == std::vector<std::int64_t>{55, 155});
  CHECK(gyre::work_by_rank(everywhere, work) == std::vector<std::int64_t>{55, 210, 55});
  const Needs needs(Mask::causal().bands(), units, units, 0, everywhere);
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(needs.needs(rank, 0));
    CHECK(needs.needs(rank, 1) == (rank == 1));
  }
}

TEST_CASE("imbalance is the greatest work over the mean, and 1 where there is none") {
  CHECK(gyre::imbalance({3, 1}) == Approx(1.5));
  CHECK(gyre::imbalance({0, 0, 6}) == Approx(3));
  CHECK(gyre::imbalance({0, 0}) == 1);
  CHECK(gyre::imbalance({}) == 1);
}

TEST_CASE("axes without tokens have no work and need nothing") {
  const Units none(0, 4), some(8, 4);
  CHECK(gyre::count_work(Mask::full().bands(), none, some, 8).empty());
  CHECK(gyre::count_work(Mask::full().bands(), some, none, -8) == std::vector<std::int64_t>{0, 0});
  CHECK(gyre::key_units_seen(Mask::full().bands(), {0, 4}, none).empty());
  const Needs needs(Mask::full().bands(), none, some, 8, Placement::contiguous(none, 2));
  CHECK_FALSE(needs.needs(1, 1));
}

TEST_CASE("a placement of other units is refused, and by heads where units are counted whole") {
  const Units units(20, 10);
  CHECK_THROWS_WITH(gyre::work_by_rank(Placement::contiguous(units, 2), {1, 2, 3}), Catch::Contains("2 units is used for 3"));
  CHECK_THROWS_WITH(Needs(Mask::full().bands(), units, units, 0, Placement(1, {0})), Catch::Contains("1 units is used for 2"));
  CHECK_THROWS_WITH(gyre::work_by_rank(Placement(2, {0, 1, 0, 1}, 2), {1, 2}), Catch::Contains("whole"));
}
