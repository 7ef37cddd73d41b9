#include "partition/mask.hpp"

#include <array>

#include "expression.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"

using gyre::Bands;
using gyre::Cover;
using gyre::kUnbounded;
using gyre::Mask;
using gyre::Range;
using gyre::test::draw;
using gyre::test::Expression;

namespace {

bool same_bands(const Mask& a, const Mask& b) {
  const auto left = a.bands().all(), right = b.bands().all();
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

void check_tile(const Expression& expression, const Bands& bands, Range queries, Range keys) {
  std::int64_t pairs = 0;
  std::vector<Range> touched;
  bands.keys_touched(queries, keys, touched);
  std::vector<std::int64_t> lanes;
  for (std::int64_t query = queries.begin; query < queries.end; ++query) lanes.push_back(query);
  std::vector<std::uint64_t> marks(keys.size());
  bands.mark(lanes, {}, keys, marks);
  for (std::int64_t query = queries.begin; query < queries.end; ++query) {
    for (std::int64_t key = keys.begin; key < keys.end; ++key) {
      const bool expected = expression.visible(query, key);
      pairs += expected;
      REQUIRE(bands.visible(query, key) == expected);
      REQUIRE((marks[key - keys.begin] >> (query - queries.begin) & 1) == expected);
      REQUIRE((!expected || std::any_of(touched.begin(), touched.end(), [&](Range range) { return range.contains(key); })));
    }
  }
  REQUIRE(bands.count(queries, keys) == pairs);
  const Cover cover = bands.cover(queries, keys);
  REQUIRE((cover == Cover::empty) == (pairs == 0));
  REQUIRE((cover != Cover::full || pairs == queries.size() * keys.size()));
}

}  // namespace

TEST_CASE("every primitive sees what the table says, also from before the first key") {
  for (const char* text : {"full", "causal", "window(3)", "window(2,5)", "window(0)", "sinks(0)", "sinks(4)", "prefix(0)",
                           "prefix(7)", "documents(5,1,14)", "dilated(1,5)", "dilated(4,3)", "strided(1)", "strided(6)"}) {
    INFO(text);
    const Mask mask = Mask::parse(text);
    CHECK(mask.text() == text);
  }
  using Kind = Expression::Kind;
  for (const Expression& expression :
       {Expression{Kind::full, {}, {}}, Expression{Kind::causal, {}, {}}, Expression{Kind::window, {3}, {}},
        Expression{Kind::window, {2, 5}, {}}, Expression{Kind::sinks, {4}, {}}, Expression{Kind::prefix, {7}, {}},
        Expression{Kind::documents, {5, 1, 14}, {}}, Expression{Kind::dilated, {4, 3}, {}}, Expression{Kind::strided, {6}, {}}}) {
    INFO(expression.text());
    check_tile(expression, expression.mask().bands(), {-20, 30}, {0, 20});
    check_tile(expression, Mask::parse(expression.text()).bands(), {-20, 30}, {0, 20});
  }
}

TEST_CASE("random expressions see what their trees see, pair by pair") {
  std::mt19937_64 random(21);
  for (int round = 0; round < 1500; ++round) {
    const std::int64_t key_tokens = draw(random, 1, 40);
    const Expression expression = gyre::test::random_expression(random, static_cast<int>(draw(random, 1, 6)), key_tokens);
    INFO(expression.text());
    const Mask mask = expression.mask();
    check_tile(expression, mask.bands(), {-10, 45}, {0, key_tokens});
    for (int tile = 0; tile < 4; ++tile) {
      const std::int64_t query = draw(random, -10, 40), key = draw(random, 0, key_tokens - 1);
      check_tile(expression, mask.bands(), {query, query + draw(random, 1, 8)}, {key, draw(random, key + 1, key_tokens)});
    }
    REQUIRE(same_bands(Mask::parse(expression.text()), mask));
    REQUIRE(same_bands(Mask::parse(mask.text()), mask));
    REQUIRE(Mask::parse(mask.text()).text() == mask.text());
  }
}

TEST_CASE("dilated teeth that reach past every position are unlimited, not wrapped") {
  const Mask mask = Mask::dilated(kUnbounded - 1, kUnbounded - 1);
  CHECK(mask.bands().visible(5, 5));
  CHECK_FALSE(mask.bands().visible(5, 4));
  CHECK(Mask::dilated(kUnbounded - 1, 3).bands().visible(3'000'000'000'000, 0));
}

TEST_CASE("borders are those of both operands, ascending and once each") {
  const std::array<std::int64_t, 3> a{3, 4, 5};
  const std::array<std::int64_t, 2> b{7, 5};
  const auto borders = [](const Mask& mask) { return std::vector<std::int64_t>(mask.borders().begin(), mask.borders().end()); };
  CHECK(borders(Mask::documents(a)) == std::vector<std::int64_t>{0, 3, 7, 12});
  CHECK(borders(Mask::documents(b) | Mask::window(2) & Mask::documents(a)) == std::vector<std::int64_t>{0, 3, 7, 12});
  CHECK(borders(Mask::causal() & Mask::documents(b)) == std::vector<std::int64_t>{0, 7, 12});
  CHECK(borders(Mask::causal()).empty());
}

TEST_CASE("documents must add up to the keys, and to the same number everywhere") {
  const std::array<std::int64_t, 2> a{3, 4}, b{3, 5};
  CHECK_NOTHROW(Mask::causal().require_key_tokens(1));
  CHECK_NOTHROW((Mask::documents(a) & Mask::causal()).require_key_tokens(7));
  CHECK_THROWS_WITH((Mask::documents(a) | Mask::causal()).require_key_tokens(8),
                    Catch::Contains("add up to 7") && Catch::Contains("8 keys"));
  CHECK_THROWS_WITH(Mask::documents(a) & Mask::documents(b), Catch::Contains("7 tokens") && Catch::Contains("to 8"));
  CHECK_THROWS_WITH(Mask::documents(a) | Mask::documents(b), Catch::Contains("7 tokens") && Catch::Contains("to 8"));
}

TEST_CASE("factories refuse arguments by name and limit") {
  const std::vector<std::int64_t> none, zero{3, 0}, huge{kUnbounded - 1, 1};
  CHECK_THROWS_WITH(Mask::window(-1), Catch::Contains("window(L,R): L is -1") && Catch::Contains("at least 0"));
  CHECK_THROWS_WITH(Mask::window(1, -2), Catch::Contains("R is -2"));
  CHECK_THROWS_WITH(Mask::window(kUnbounded), Catch::Contains("below 2^60"));
  CHECK_THROWS_WITH(Mask::sinks(-1), Catch::Contains("sinks(N): N is -1"));
  CHECK_THROWS_WITH(Mask::prefix(-1), Catch::Contains("prefix(N): N is -1"));
  CHECK_THROWS_WITH(Mask::dilated(0, 1), Catch::Contains("L is 0") && Catch::Contains("at least 1"));
  CHECK_THROWS_WITH(Mask::dilated(1, 0), Catch::Contains("D is 0"));
  CHECK_THROWS_WITH(Mask::strided(0), Catch::Contains("S is 0"));
  CHECK_THROWS_WITH(Mask::documents(none), Catch::Contains("no length"));
  CHECK_THROWS_WITH(Mask::documents(zero), Catch::Contains("a length is 0"));
  CHECK_THROWS_WITH(Mask::documents(huge), Catch::Contains("the sum of lengths"));
}

TEST_CASE("ten thousand documents keep a few bands each, and a query sees its own") {
  std::mt19937_64 random(22);
  const std::vector<std::int64_t> lengths = [&] {
    std::vector<std::int64_t> drawn(10'000);
    for (std::int64_t& length : drawn) length = draw(random, 1, 400);
    return drawn;
  }();
  const Mask documents = Mask::documents(lengths);
  const std::int64_t tokens = documents.borders().back();
  REQUIRE(documents.bands().all().size() == lengths.size());

  const Mask windows = documents & (Mask::window(64) | Mask::sinks(4));
  CHECK(windows.bands().all().size() <= 3 * lengths.size());
  CHECK((documents & documents).bands().all().size() == lengths.size());
  CHECK((documents | documents).bands().all().size() == lengths.size());
  CHECK((documents | Mask::causal()).bands().all().size() <= lengths.size() + 1);
  CHECK((documents & Mask::causal() | Mask::causal()).bands().all().size() == 1);
  CHECK(same_bands(Mask::parse(windows.text()), windows));

  std::int64_t causal_pairs = 0;
  for (const std::int64_t length : lengths) causal_pairs += length * (length + 1) / 2;
  CHECK((documents & Mask::causal()).bands().count({0, tokens}, {0, tokens}) == causal_pairs);

  // Beside a band of every query, too, a search finds the few that matter.
  const Bands& with_prefix = (documents | Mask::prefix(8)).bands();
  std::vector<Range> touched;
  for (std::size_t document = 0; document < lengths.size(); document += 997) {
    const Range own{documents.borders()[document], documents.borders()[document + 1]};
    with_prefix.keys_touched(own, {0, tokens}, touched);
    CHECK(touched ==
          (document == 0 ? std::vector<Range>{{0, std::max<std::int64_t>(8, own.end)}} : std::vector<Range>{{0, 8}, own}));
  }
}
