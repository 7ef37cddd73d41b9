// The contract over loopback, plain and faulty.
#include "comm/over_loopback.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace contract;

TEST_CASE("loopback delivers random exchanges intact and in order on every lane") {
  for (const int ranks : {1, 2, 3, 4, 5, 8}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      CAPTURE(ranks, seed);
      REQUIRE(over_loopback(ranks, [&](Transport& transport) { return random_exchanges_arrive(transport, seed); }) == "");
    }
  }
}

TEST_CASE("loopback's collectives deliver on 1 to 8 ranks") {
  for (int ranks = 1; ranks <= 8; ++ranks) REQUIRE(over_loopback(ranks, collectives_deliver) == "");
}

TEST_CASE("values folded over ranks have the same bits on every rank") {
  for (int ranks = 1; ranks <= 8; ++ranks) REQUIRE(over_loopback(ranks, folds_have_the_same_bits) == "");
}

TEST_CASE("a disagreement is the same message on every one of 1 to 8 ranks and names both sides") {
  for (int ranks = 1; ranks <= 8; ++ranks) REQUIRE(over_loopback(ranks, agreement_names_both_sides) == "");
}

TEST_CASE("a step that fails on one rank fails on all with the message of the lowest") {
  for (int ranks = 1; ranks <= 8; ++ranks) REQUIRE(over_loopback(ranks, together_fails_on_every_rank) == "");
}

TEST_CASE("loopback refuses ranks that do not exist and dead tickets") {
  for (const int ranks : {1, 2, 5}) REQUIRE(over_loopback(ranks, wrong_arguments_are_refused) == "");
}

TEST_CASE("loopback allocates nothing after reserve") {
  for (const int ranks : {1, 2, 5}) REQUIRE(over_loopback(ranks, exchanges_allocate_nothing_after_reserve) == "");
}

TEST_CASE("a faulty loopback keeps the whole contract") {
  for (const int ranks : {1, 2, 3, 4, 5, 8}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CAPTURE(ranks, seed);
      REQUIRE(over_faulty_loopback(ranks, {.seed = seed}, everything) == "");
    }
  }
}
