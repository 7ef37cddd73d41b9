#include "partition/work.hpp"

#include "expression.hpp"
#include "partition/mask.hpp"
#include "support/catch.hpp"

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

TEST_CASE("a placement of other units, or by head, is refused") {
  const Units units(20, 10);
  CHECK_THROWS_WITH(gyre::work_by_rank(Placement::contiguous(units, 2), {1, 2, 3}), Catch::Contains("2 units is used for 3"));
  CHECK_THROWS_WITH(Needs(Mask::full().bands(), units, units, 0, Placement(1, {0})), Catch::Contains("1 units is used for 2"));
  CHECK_THROWS_WITH(Needs(Mask::full().bands(), units, units, 0, Placement(2, {0, 1, 0, 1}, 2)), Catch::Contains("whole"));
}
