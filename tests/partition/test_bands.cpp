#include "partition/bands.hpp"

#include "expression.hpp"
#include "support/catch.hpp"

using gyre::Band;
using gyre::Bands;
using gyre::Cover;
using gyre::kUnbounded;
using gyre::Range;
using gyre::test::draw;

namespace {

Range random_range(std::mt19937_64& random, std::int64_t least, std::int64_t most) {
  const std::int64_t a = draw(random, least, most), b = draw(random, least, most);
  return {std::min(a, b), std::max(a, b) + 1};
}

Band random_band(std::mt19937_64& random) {
  Band band{random_range(random, -12, 30), random_range(random, 0, 30)};
  if (draw(random, 0, 2) > 0) band.lower = draw(random, -25, 25);
  if (draw(random, 0, 2) > 0) band.upper = draw(random, std::max<std::int64_t>(-10, band.lower), 40);
  if (draw(random, 0, 1) == 0) band.modulus = draw(random, 1, 7);
  band.residue = draw(random, 0, band.modulus - 1);
  return band;
}

// The definition in the header, written out.
bool defined_visible(const Band& band, std::int64_t query, std::int64_t key) {
  const std::int64_t diagonal = key - query;
  const std::int64_t rest = (diagonal % band.modulus + band.modulus) % band.modulus;
  return band.queries.begin <= query && query < band.queries.end && band.keys.begin <= key && key < band.keys.end &&
         band.lower <= diagonal && diagonal <= band.upper && rest == band.residue;
}

bool any_visible(const std::vector<Band>& bands, std::int64_t query, std::int64_t key) {
  return std::any_of(bands.begin(), bands.end(), [&](const Band& band) { return defined_visible(band, query, key); });
}

std::int64_t count_pairs(const std::vector<Band>& bands, Range queries, Range keys) {
  std::int64_t pairs = 0;
  for (std::int64_t query = queries.begin; query < queries.end; ++query) {
    for (std::int64_t key = keys.begin; key < keys.end; ++key) pairs += any_visible(bands, query, key);
  }
  return pairs;
}

constexpr Range kQueries{-15, 35}, kKeys{0, 35};

}  // namespace

TEST_CASE("a band is empty exactly when it sees no pair, and keys_of holds every key that a query sees") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 2000; ++round) {
    const Band band = random_band(random);
    REQUIRE(band.empty() == (count_pairs({band}, kQueries, kKeys) == 0));
    for (std::int64_t query = kQueries.begin; query < kQueries.end; ++query) {
      for (std::int64_t key = kKeys.begin; key < kKeys.end; ++key) {
        REQUIRE(band.visible(query, key) == defined_visible(band, query, key));
        REQUIRE((!band.visible(query, key) || band.keys_of(query).contains(key)));
      }
    }
  }
}

TEST_CASE("and of two bands sees what both see") {
  std::mt19937_64 random(12);
  for (int round = 0; round < 2000; ++round) {
    const Band a = random_band(random), b = random_band(random), both = a & b;
    std::int64_t pairs = 0;
    for (std::int64_t query = kQueries.begin; query < kQueries.end; ++query) {
      for (std::int64_t key = kKeys.begin; key < kKeys.end; ++key) {
        const bool expected = defined_visible(a, query, key) && defined_visible(b, query, key);
        REQUIRE(both.visible(query, key) == expected);
        pairs += expected;
      }
    }
    REQUIRE(both.empty() == (pairs == 0));
  }
}

TEST_CASE("residues merge exactly where the least common multiple leaves 64 bits") {
  const std::int64_t p = 1'000'000'007, q = 1'000'000'009, big = (std::int64_t{1} << 59) - 55;
  const Band a{.modulus = p, .residue = 5}, b{.modulus = q, .residue = 7};
  const Band both = a & b;
  CHECK(both.modulus == p * q);
  CHECK(both.residue % p == 5);
  CHECK(both.residue % q == 7);

  // -3 is in both classes; the next one is far outside of every position.
  const Band c{.modulus = big, .residue = big - 3}, d{.modulus = p, .residue = p - 3};
  CHECK((c & d).visible(10, 7));
  CHECK_FALSE((c & d).visible(10, 8));
  CHECK_FALSE((c & d).empty());
  CHECK((c & d & Band{.lower = -2}).empty());
  CHECK((c & Band{.lower = -2, .modulus = p, .residue = p - 3}).empty());
  CHECK((c & Band{.upper = -4, .modulus = p, .residue = p - 3}).empty());
  CHECK((Band{.modulus = 6, .residue = 1} & Band{.modulus = 4, .residue = 2}).empty());
}

TEST_CASE("bands see the union: visible, count, cover, keys touched and marks agree with pair by pair") {
  std::mt19937_64 random(13);
  std::vector<Range> touched;
  for (int round = 0; round < 1500; ++round) {
    std::vector<Band> parts(draw(random, 0, 6));
    for (Band& part : parts) part = random_band(random);
    const Bands bands(parts);
    for (int tile = 0; tile < 4; ++tile) {
      const Range queries = random_range(random, -15, 34), keys = random_range(random, 0, 34);
      const std::int64_t pairs = count_pairs(parts, queries, keys);
      REQUIRE(bands.count(queries, keys) == pairs);
      const Cover cover = bands.cover(queries, keys);
      REQUIRE((cover == Cover::empty) == (pairs == 0));
      REQUIRE((cover != Cover::full || pairs == queries.size() * keys.size()));
      if (parts.size() == 1 && pairs == queries.size() * keys.size()) REQUIRE(cover == Cover::full);

      bands.keys_touched(queries, keys, touched);
      for (std::size_t k = 0; k < touched.size(); ++k) {
        REQUIRE((!touched[k].empty() && keys.contains(touched[k])));
        REQUIRE((k == 0 || touched[k - 1].end < touched[k].begin));
      }
      for (std::int64_t query = queries.begin; query < queries.end; ++query) {
        for (std::int64_t key = keys.begin; key < keys.end; ++key) {
          const bool expected = any_visible(parts, query, key);
          REQUIRE(bands.visible(query, key) == expected);
          const auto holds_key = [&](Range range) { return range.contains(key); };
          REQUIRE((!expected || std::any_of(touched.begin(), touched.end(), holds_key)));
        }
      }
    }
  }
}

TEST_CASE("marks agree with visible for lanes in any order, absent lanes and long key ranges") {
  std::mt19937_64 random(14);
  for (int round = 0; round < 400; ++round) {
    std::vector<Band> parts(draw(random, 0, 5));
    for (Band& part : parts) {
      part = random_band(random);
      if (draw(random, 0, 1) == 0) part.keys = random_range(random, 0, 700);
      if (draw(random, 0, 1) == 0) part.queries = {-kUnbounded, kUnbounded};
    }
    const Bands bands(parts);
    std::vector<std::int64_t> lanes(draw(random, 0, 64));
    for (std::int64_t& lane : lanes) lane = draw(random, 0, 9) == 0 ? gyre::kNoPosition : draw(random, -15, 720);
    const std::int64_t begin = draw(random, 0, 40);
    const Range keys{begin, begin + draw(random, 0, 700)};
    std::vector<std::uint64_t> out(keys.size() + 2, 0x5a5a5a5a5a5a5a5a);
    bands.mark(lanes, {}, keys, out);
    for (std::int64_t key = keys.begin; key < keys.end; ++key) {
      std::uint64_t expected = 0;
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        expected |= std::uint64_t{lanes[lane] != gyre::kNoPosition && any_visible(parts, lanes[lane], key)} << lane;
      }
      REQUIRE(out[key - keys.begin] == expected);
    }
    REQUIRE(out[keys.size()] == 0x5a5a5a5a5a5a5a5a);  // nothing past the range is written
  }
  CHECK_THROWS_WITH(Bands().mark(std::vector<std::int64_t>(65), {}, {0, 0}, {}), Catch::Contains("65 lanes"));
}

TEST_CASE("and and or of two sets see what both and what either sees") {
  std::mt19937_64 random(15);
  for (int round = 0; round < 300; ++round) {
    std::vector<Band> left(draw(random, 0, 5)), right(draw(random, 0, 5));
    for (Band& band : left) band = random_band(random);
    for (Band& band : right) band = random_band(random);
    const Bands both = Bands(left) & Bands(right), either = Bands(left) | Bands(right);
    for (std::int64_t query = kQueries.begin; query < kQueries.end; ++query) {
      for (std::int64_t key = kKeys.begin; key < kKeys.end; ++key) {
        const bool in_left = any_visible(left, query, key), in_right = any_visible(right, query, key);
        REQUIRE(both.visible(query, key) == (in_left && in_right));
        REQUIRE(either.visible(query, key) == (in_left || in_right));
      }
    }
  }
}

TEST_CASE("bands inside another are dropped, whichever comes first") {
  const Band causal{.upper = 0}, window{.lower = -4, .upper = 0}, sinks{.keys = {0, 4}, .upper = 0};
  CHECK(Bands({window, causal, sinks}).all().size() == 1);
  CHECK(Bands({causal, causal}).all().size() == 1);
  CHECK(Bands({sinks, window}).all().size() == 2);
  CHECK(Bands({Band{.modulus = 6}, Band{.modulus = 3}}).all().size() == 1);
  CHECK(Bands({Band{.modulus = 6}, Band{.modulus = 4}}).all().size() == 2);
  // In a square of 5, limits beyond the corners say nothing.
  const Band square{.queries = {0, 5}, .keys = {0, 5}}, wide{.queries = {0, 5}, .keys = {0, 5}, .lower = -4, .upper = 7};
  CHECK(Bands({square, wide}).all().size() == 1);
  CHECK(Bands({Band{.queries = {0, 5}, .keys = {0, 5}, .upper = 3}, wide}).all().size() == 1);
  CHECK(Bands({Band{.queries = {3, 3}}}).all().empty());
  CHECK(Bands({Band{.lower = 2, .upper = 1}}).all().empty());
}

TEST_CASE("bands ascend in queries.begin and keep their pairs in the tightest rectangle") {
  const Bands bands({Band{.queries = {50, 60}, .keys = {0, 9}}, Band{.keys = {0, 10}, .lower = -5, .upper = 0}});
  REQUIRE(bands.all().size() == 2);
  CHECK(bands.all()[0].queries == Range{0, 15});  // query 14 sees key 9
  CHECK(bands.all()[1].queries == Range{50, 60});
}

TEST_CASE("counts of a million rows are exact where a formula tells them") {
  const std::int64_t n = 1'000'000, window = 4096, sinks = 4, step = 64;
  const Range all{0, n};
  CHECK(Bands({Band{.upper = 0}}).count(all, all) == n * (n + 1) / 2);
  const std::int64_t within = n * (window + 1) - window * (window + 1) / 2;
  CHECK(Bands({Band{.lower = -window, .upper = 0}}).count(all, all) == within);
  // Rows from window + 1 on have left a sink behind; from window + sinks on all of them.
  const std::int64_t behind = (n - window - sinks) * sinks + sinks * (sinks - 1) / 2;
  CHECK(Bands({Band{.lower = -window, .upper = 0}, Band{.keys = {0, sinks}, .upper = 0}}).count(all, all) == within + behind);
  const std::int64_t blocks = n / step;
  CHECK(Bands({Band{.upper = 0, .modulus = step}}).count(all, all) == step * blocks * (blocks + 1) / 2);
}

TEST_CASE("many overlapping bands are counted exactly") {
  std::mt19937_64 random(16);
  std::vector<Band> parts(40);
  for (int round = 0; round < 20; ++round) {
    for (Band& part : parts) part = random_band(random);
    REQUIRE(Bands(parts).count(kQueries, kKeys) == count_pairs(parts, kQueries, kKeys));
  }
  parts.clear();
  for (std::int64_t modulus = 2; modulus < 20; ++modulus) parts.push_back({.modulus = modulus, .residue = modulus / 2});
  CHECK(Bands(parts).count({-40, 60}, {0, 90}) == count_pairs(parts, {-40, 60}, {0, 90}));
}

TEST_CASE("two hundred dilated and strided clauses beside others are counted exactly") {
  std::mt19937_64 random(17);
  for (int round = 0; round < 6; ++round) {
    std::vector<Band> parts;
    for (int clause = 0; clause < 200; ++clause) {
      const std::int64_t step = draw(random, 2, 60), teeth = draw(random, 1, 12);
      parts.push_back({.lower = draw(random, 0, 9) == 0 ? -kUnbounded : -teeth * step, .upper = 0, .modulus = step});
    }
    if (round % 3 > 0) parts.push_back({.keys = {0, draw(random, 1, 9)}, .upper = 0});
    if (round % 3 > 1) {
      for (std::int64_t begin = 0; begin < 300; begin += 11)
        parts.push_back({.queries = {begin, begin + 11}, .keys = {begin, begin + 11}});
    }
    const Bands bands(parts);
    REQUIRE(bands.count({0, 300}, {0, 300}) == count_pairs(parts, {0, 300}, {0, 300}));
    for (int tile = 0; tile < 10; ++tile) {
      const Range queries = random_range(random, -20, 320), keys = random_range(random, 0, 320);
      REQUIRE(bands.count(queries, keys) == count_pairs(parts, queries, keys));
    }
  }
}

TEST_CASE("rows of three million keys under thirty strides are counted like a sieve") {
  const std::int64_t keys = 3'000'000;
  std::vector<Band> parts;
  std::vector<char> hit(2 * keys + 16);  // of diagonals, from -keys - 8 on
  for (std::int64_t step = 31; step < 61; ++step) {
    parts.push_back({.modulus = step});
    for (std::int64_t diagonal = -(keys + 8) / step * step; diagonal < keys + 8; diagonal += step) hit[diagonal + keys + 8] = 1;
  }
  for (const std::int64_t first : {-3, 200'003, 1'700'001, 2'999'999}) {
    std::int64_t pairs = 0;
    for (std::int64_t query = first; query < first + 5; ++query) {
      pairs += std::count(hit.begin() + (keys + 8 - query), hit.begin() + (2 * keys + 8 - query), 1);
    }
    CHECK(Bands(parts).count({first, first + 5}, {0, keys}) == pairs);
  }
}

TEST_CASE("a single band of modulus 1 has an exact cover, and one pair is a full tile") {
  const Bands causal({Band{.upper = 0}});
  CHECK(causal.cover({4, 8}, {0, 5}) == Cover::full);
  CHECK(causal.cover({4, 8}, {0, 6}) == Cover::partial);
  CHECK(causal.cover({4, 8}, {7, 9}) == Cover::partial);
  CHECK(causal.cover({4, 8}, {8, 9}) == Cover::empty);
  CHECK(causal.cover({4, 4}, {0, 1}) == Cover::empty);
  const Bands strided({Band{.modulus = 8}});
  CHECK(strided.cover({3, 4}, {11, 12}) == Cover::full);
  CHECK(strided.cover({3, 5}, {5, 9}) == Cover::empty);
  CHECK(strided.cover({3, 5}, {5, 12}) == Cover::partial);
}

TEST_CASE("a malformed band is refused") {
  CHECK_THROWS_WITH(Bands({Band{.modulus = 0}}), Catch::Contains("modulus 0"));
  CHECK_THROWS_WITH(Bands({Band{.modulus = 3, .residue = 3}}), Catch::Contains("residue 3"));
  CHECK_THROWS_WITH(Bands({Band{.modulus = 3, .residue = -1}}), Catch::Contains("residue -1"));
  CHECK_THROWS_WITH(Bands({Band{.upper = kUnbounded + 1}}), Catch::Contains("kUnbounded"));
}

TEST_CASE("a product of more than a million bands is refused") {
  std::vector<Band> rows, columns;
  for (std::int64_t k = 0; k < 1001; ++k) {
    rows.push_back({.queries = {k, k + 1}});
    columns.push_back({.keys = {k, k + 1}});
  }
  CHECK_THROWS_WITH(Bands(rows) & Bands(columns), Catch::Contains("1000000 bands"));
}
