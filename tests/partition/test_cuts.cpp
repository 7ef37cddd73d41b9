#include "partition/cuts.hpp"

#include <numeric>

#include "expression.hpp"
#include "partition/units.hpp"
#include "support/catch.hpp"

using gyre::cuts_of_documents;
using gyre::kShortestPiece;
using gyre::Mask;
using gyre::Range;
using gyre::Units;
using gyre::test::draw;

namespace {

using Cuts = std::vector<std::int64_t>;

Cuts cuts_of(const Mask& mask, std::int64_t unit_tokens) {
  return cuts_of_documents(mask.borders(), mask.bands(), unit_tokens);
}

Cuts cuts_of(const char* mask, std::int64_t unit_tokens) {
  return cuts_of(Mask::parse(mask), unit_tokens);
}

}  // namespace

TEST_CASE("units restart between documents, but not where queries see across the border") {
  CHECK(cuts_of("documents(300,200,500)", 128) == Cuts{300, 500});
  CHECK(cuts_of("documents(300,200,500) & causal", 128) == Cuts{300, 500});
  CHECK(cuts_of("documents(300,200,500) | sinks(4)", 128) == Cuts{300, 500});
  CHECK(cuts_of("documents(300,200,500) | prefix(450)", 128) == Cuts{500});
  CHECK(cuts_of("documents(300,200,500) | causal", 128).empty());
  CHECK(cuts_of("documents(300,200,500) | full", 128).empty());
  CHECK(cuts_of("documents(300,200,500) | window(0,300)", 128).empty());
  CHECK(cuts_of("documents(300,200,500) | documents(500,500)", 128) == Cuts{500});
  CHECK(cuts_of("documents(100,800,100) | documents(1000) & causal", 128).empty());
  CHECK(cuts_of("causal", 128).empty());
}

TEST_CASE("a window that is shorter than a unit on both sides of a border leaves it a cut") {
  CHECK(cuts_of("documents(300,200,500) | window(254)", 128) == Cuts{300, 500});
  CHECK(cuts_of("documents(300,200,500) | window(255)", 128).empty());
}

TEST_CASE("documents shorter than a unit share one, up to where it is no shorter than 64 tokens") {
  CHECK(cuts_of("documents(3,500,1,1,495)", 128) == Cuts{503});
  CHECK(cuts_of("documents(63,1,63,2,71)", 128) == Cuts{64, 129});
  CHECK(cuts_of("documents(3,5,1,1,10)", 4) == Cuts{8});
  CHECK(cuts_of("documents(3,5,1,1,10)", 1) == Cuts{3, 8, 9, 10});
}

TEST_CASE("cuts are borders, ascend, and leave no piece but the last shorter than 64 tokens or a unit") {
  std::mt19937_64 random(61);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t tokens = draw(random, 1, 3000), unit = draw(random, 1, 200);
    const auto lengths = gyre::test::random_lengths(random, tokens, draw(random, 1, 300));
    const Mask mask = Mask::documents(lengths);
    std::int64_t latest = 0;
    const Cuts cuts = cuts_of(mask, unit);
    for (const std::int64_t cut : cuts) {
      REQUIRE(std::binary_search(mask.borders().begin(), mask.borders().end(), cut));
      REQUIRE(cut - latest >= std::min(unit, kShortestPiece));
      REQUIRE(cut < tokens);
      latest = cut;
    }
    for (std::size_t k = 0, next = 0; k + 1 < lengths.size(); ++k) {  // each border that is far enough from the cut before is one
      const std::int64_t border = mask.borders()[k + 1], before = next == 0 ? 0 : cuts[next - 1];
      if (border - before >= std::min(unit, kShortestPiece)) REQUIRE(cuts.at(next++) == border);
    }
  }
}

TEST_CASE("however many documents lie beside a mask, they at most double its units, and a wide one gets none more") {
  std::mt19937_64 random(62);
  const std::int64_t tokens = 5000, unit = 128;
  for (const std::int64_t longest : {1, 2, 40, 130}) {
    const Mask documents = Mask::documents(gyre::test::random_lengths(random, tokens, longest));
    const auto units = [&](const Mask& mask) { return Units(tokens, unit, cuts_of(mask, unit)).count(); };
    const int alone = units(Mask::full());
    CHECK(units(documents) <= 2 * alone + 1);
    CHECK(units(documents | Mask::strided(3)) <= 2 * alone + 1);
    for (const Mask& wide : {Mask::full(), Mask::causal(), Mask::window(2000)}) {
      CHECK(units(wide | documents) == alone);
      CHECK(units(documents | wide) == alone);
    }
  }
}
