#include <numeric>

#include "expression.hpp"
#include "partition/units.hpp"
#include "support/catch.hpp"

using gyre::Range;
using gyre::Units;
using gyre::test::draw;

namespace {

std::vector<Range> all(const Units& units) {
  std::vector<Range> ranges;
  for (int unit = 0; unit < units.count(); ++unit) ranges.push_back(units.range(unit));
  return ranges;
}

}  // namespace

TEST_CASE("units restart at a cut and the last one before it may be short") {
  const std::vector<std::int64_t> cuts{3};
  CHECK(all(Units(10, 4, cuts)) == std::vector<Range>{{0, 3}, {3, 7}, {7, 10}});
  CHECK(all(Units(8, 4)) == std::vector<Range>{{0, 4}, {4, 8}});
  CHECK(all(Units(1, 4)) == std::vector<Range>{{0, 1}});
}

TEST_CASE("cuts may come in any order, twice, and from outside of the axis") {
  const std::vector<std::int64_t> cuts{7, 3, -5, 0, 3, 10, 12};
  CHECK(all(Units(10, 100, cuts)) == std::vector<Range>{{0, 3}, {3, 7}, {7, 10}});
}

TEST_CASE("an axis of no tokens has no units") {
  for (const Units& units : {Units(), Units(0, 16)}) {
    CHECK(units.count() == 0);
    CHECK(units.tokens() == 0);
    CHECK(units.longest() == 0);
    CHECK(units.units_touching({0, 100}).empty());
  }
}

TEST_CASE("units cover the axis exactly, are no longer than nominal and restart at every cut") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t tokens = draw(random, 1, 200), nominal = draw(random, 1, 40);
    std::vector<std::int64_t> cuts(draw(random, 0, 6));
    for (std::int64_t& cut : cuts) cut = draw(random, -3, tokens + 3);
    const Units units(tokens, nominal, cuts);
    REQUIRE(units.tokens() == tokens);
    std::int64_t at = 0, longest = 0;
    for (int unit = 0; unit < units.count(); ++unit) {
      const Range range = units.range(unit);
      REQUIRE(range.begin == at);
      REQUIRE(units.length(unit) == range.size());
      REQUIRE((range.size() >= 1 && range.size() <= nominal));
      const bool ends_at_cut = range.end == tokens || std::count(cuts.begin(), cuts.end(), range.end) > 0;
      REQUIRE((ends_at_cut || range.size() == nominal));
      for (const std::int64_t cut : cuts) REQUIRE_FALSE((range.begin < cut && cut < range.end));
      longest = std::max(longest, range.size());
      at = range.end;
    }
    REQUIRE(at == tokens);
    REQUIRE(units.longest() == longest);
  }
}

TEST_CASE("the unit of a token is the one whose range contains it") {
  std::mt19937_64 random(2);
  const std::vector<std::int64_t> cuts{5, 6, 31};
  const Units units(100, 7, cuts);
  for (std::int64_t token = 0; token < 100; ++token) REQUIRE(units.range(units.unit_of(token)).contains(token));

  for (int round = 0; round < 300; ++round) {
    const Range tokens{draw(random, -10, 110), draw(random, -10, 110)};
    const Range touching = units.units_touching(tokens);
    for (int unit = 0; unit < units.count(); ++unit) {
      REQUIRE(touching.contains(std::int64_t{unit}) == !(units.range(unit) & tokens).empty());
    }
  }
}

TEST_CASE("units of bad lengths are refused, and so is a table that ints cannot index") {
  CHECK_THROWS_WITH(Units(-1, 4), Catch::Contains("-1") && Catch::Contains("at least 0"));
  CHECK_THROWS_WITH(Units(10, 0), Catch::Contains("0 tokens") && Catch::Contains("at least 1"));
  CHECK_THROWS_WITH(Units(std::int64_t{1} << 40, 1), Catch::Contains("longer units"));
}

TEST_CASE("the default unit is a sixteenth of the axis within 64 and 512, and a quarter of a rank's share above 64") {
  CHECK(gyre::default_unit_tokens(0, 1) == 64);
  CHECK(gyre::default_unit_tokens(1, 8) == 64);
  CHECK(gyre::default_unit_tokens(2047, 1) == 64);   // 127.9 rounds down to 64
  CHECK(gyre::default_unit_tokens(2048, 1) == 128);  // 2048 / 16
  CHECK(gyre::default_unit_tokens(2048, 4) == 128);  // share 512, a quarter of it 128
  CHECK(gyre::default_unit_tokens(2047, 4) == 64);
  CHECK(gyre::default_unit_tokens(2048, 5) == 64);   // share 409.6, a quarter of it 102.4
  CHECK(gyre::default_unit_tokens(8192, 1) == 512);  // 8192 / 16
  CHECK(gyre::default_unit_tokens(8192, 4) == 512);  // share 2048
  CHECK(gyre::default_unit_tokens(8192, 8) == 256);  // share 1024
  CHECK(gyre::default_unit_tokens(8192, 64) == 64);  // share 128, but not below 64
  CHECK(gyre::default_unit_tokens(1 << 20, 1) == 512);
  CHECK(gyre::default_unit_tokens(1 << 20, 1, 2048) == 2048);
  CHECK(gyre::default_unit_tokens(32768, 1, 2048) == 2048);  // 16 units
  CHECK(gyre::default_unit_tokens(32768, 2, 2048) == 1024);
  CHECK(gyre::default_unit_tokens(32767, 2, 2048) == 512);
  CHECK(gyre::default_unit_tokens(2048, 1, 2048) == 128);
  CHECK(gyre::default_unit_tokens(1 << 20, 512) == 512);
  CHECK(gyre::default_unit_tokens(1 << 20, 1024) == 256);
  CHECK_THROWS_WITH(gyre::default_unit_tokens(10, 0), Catch::Contains("0 ranks"));
}
