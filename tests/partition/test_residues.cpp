// Residue order: a permutation of a unit's tokens, marks in that order, and when it is chosen.
#include <algorithm>
#include <random>
#include <vector>

#include "expression.hpp"
#include "partition/mask.hpp"
#include "partition/residue_choice.hpp"
#include "support/catch.hpp"

using gyre::Bands;
using gyre::choose_residues;
using gyre::keys_of_strip;
using gyre::Mask;
using gyre::Range;
using gyre::ResidueChoice;
using gyre::ResidueOrder;
using gyre::unit_choices;
using gyre::UnitTokens;
using gyre::test::draw;

TEST_CASE("residue order is a permutation in which classes follow each other and ascend") {
  for (std::int64_t stride = 1; stride <= 40; ++stride) {
    const ResidueOrder order{.stride = stride};
    for (std::int64_t tokens = 1; tokens <= 90; ++tokens) {
      std::int64_t place = 0;
      for (std::int64_t residue = 0; residue < stride; ++residue) {
        CHECK(order.places_of(tokens, residue).begin == place);
        for (std::int64_t token = residue; token < tokens; token += stride, ++place) {
          REQUIRE(order.token_at(tokens, place) == token);
          REQUIRE(order.place_of(tokens, token) == place);
        }
        CHECK(order.places_of(tokens, residue).end == place);
      }
      CHECK(place == tokens);
    }
  }
}

TEST_CASE("marks in residue order are those of tokens, at their places") {
  std::mt19937_64 random(71);
  for (int round = 0; round < 600; ++round) {
    const std::int64_t tokens = draw(random, 1, 700), heads = draw(random, 1, 3);
    const Bands bands = gyre::test::random_expression(random, static_cast<int>(draw(random, 1, 3)), tokens, round % 3 == 0 ? 2 : 0)
                            .mask()
                            .bands_at(draw(random, -20, 20));
    const ResidueOrder order{.stride = draw(random, 1, 20)}, lanes_order{.stride = draw(random, 0, 1) ? order.stride : 1};
    const std::int64_t begin = draw(random, 0, tokens - 1);
    const Range unit{begin, draw(random, begin + 1, tokens)};
    const std::int64_t rows = draw(random, 1, 200), first = draw(random, -30, tokens);
    std::vector<std::int64_t> lanes;
    std::vector<std::int32_t> of;
    for (std::int64_t row = draw(random, 0, rows), end = std::min(row + 64, rows + 3); row < end; ++row) {
      lanes.push_back(row < rows ? first + lanes_order.token_at(rows, row) : gyre::kNoPosition);
      of.push_back(static_cast<std::int32_t>(bands.heads() == 1 ? draw(random, 0, heads - 1) : row % 2));
    }
    std::vector<std::uint64_t> expected(unit.size() + 1), found(unit.size() + 1, 0x5a5a5a5a5a5a5a5a);
    bands.mark(lanes, of, unit, expected);
    const Range places = bands.mark(lanes, of, unit, order, found);
    for (std::int64_t token = 0; token < unit.size(); ++token) {
      const std::int64_t place = order.place_of(unit.size(), token);
      REQUIRE(found[place] == expected[token]);
      REQUIRE((found[place] == 0 || places.contains(place)));
    }
    REQUIRE(found.back() == 0x5a5a5a5a5a5a5a5a);
  }
}

namespace {

ResidueChoice chosen(const char* mask, std::int64_t tokens, int group = 1, int ranks = 1) {
  return choose_residues(Mask::parse(mask).bands(), {0, tokens}, {0, tokens}, group, unit_choices(tokens, tokens, ranks, 0, 2048));
}

}  // namespace

TEST_CASE("strides are chosen for masks that are strided, with units in which a class fills a strip, and for no others") {
  for (const char* mask : {"full", "causal", "window(300) | sinks(4)", "documents(20000,12768) & causal", "dilated(1,64)"}) {
    CHECK(chosen(mask, 32768).order.stride == 1);
    CHECK(chosen(mask, 32768).units.keys == 512);
  }
  for (const char* mask :
       {"strided(64)", "strided(64) & causal", "dilated(512,64)", "documents(20000,12768) & strided(64) & causal"}) {
    CHECK(chosen(mask, 32768).order.stride == 64);
    CHECK(chosen(mask, 32768).units.keys >= 1024);
    CHECK(chosen(mask, 32768).units.queries == chosen(mask, 32768).units.keys);
  }
  CHECK(chosen("strided(8) & causal", 32768).order.stride == 8);
  CHECK(chosen("(strided(64) | window(64)) & causal", 1 << 20).order.stride == 64);
  CHECK(chosen("(strided(64) | window(24000)) & causal", 32768).order.stride == 1);
  CHECK(chosen("strided(64) & causal", 32768, 1, 8).units.keys == 512);
  CHECK(chosen("strided(300) & causal", 4096).order.stride == 1);  // shorter units than two strides
}

TEST_CASE("a strip's keys are estimated within a factor of two of the panels that its rows touch") {
  std::mt19937_64 random(72);
  for (const char* mask : {"causal", "window(700)", "strided(64) & causal", "strided(16) & causal", "strided(5)", "dilated(64,48)",
                           "(strided(32) | window(200)) & causal"}) {
    const Bands bands = Mask::parse(mask).bands();
    for (const std::int64_t stride : {std::int64_t{1}, std::int64_t{16}, std::int64_t{32}, std::int64_t{64}}) {
      for (const std::int64_t unit : {std::int64_t{512}, std::int64_t{1024}}) {
        constexpr std::int64_t kTokens = 8192, kSamples = 64;
        const ResidueOrder order{.stride = stride};
        double keys = 0;
        std::vector<std::uint64_t> words(static_cast<std::size_t>(unit));
        for (std::int64_t sample = 0; sample < kSamples; ++sample) {
          const std::int64_t strip = draw(random, 0, kTokens / 16 - 1) * 16, first = strip / unit * unit;
          std::vector<std::int64_t> lanes;
          for (std::int64_t row = strip; row < strip + 16; ++row) lanes.push_back(first + order.token_at(unit, row - first));
          for (std::int64_t begin = 0; begin < kTokens; begin += unit) {
            bands.mark(lanes, {}, {begin, begin + unit}, order, words);
            bool any = false;
            for (std::int64_t panel = 0; panel < unit; panel += 8) {
              const bool seen = std::any_of(words.begin() + panel, words.begin() + panel + 8, [](auto word) { return word != 0; });
              keys += seen ? 8 : 0, any |= seen;
            }
            keys += any ? 4 : 0;
          }
        }
        const double found = keys / kSamples;
        const double told = keys_of_strip(bands, {0, kTokens}, {0, kTokens}, 1, order, {.queries = unit, .keys = unit});
        INFO(mask << ", stride " << stride << ", units of " << unit << ": told " << told << ", found " << found);
        CHECK(told <= 2 * found);
        CHECK(told >= 0.5 * found);
      }
    }
  }
}
