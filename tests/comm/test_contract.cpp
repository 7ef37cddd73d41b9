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

TEST_CASE("loopback shares memory inside a node of any size and not across nodes") {
  for (const int ranks : {1, 2, 5, 8}) {
    for (const int ranks_per_node : {0, 1, 2, 3}) {
      CAPTURE(ranks, ranks_per_node);
      REQUIRE(over_loopback(ranks, memory_is_shared_inside_a_node, ranks_per_node) == "");
      REQUIRE(over_loopback(ranks, wrong_loans_are_refused, ranks_per_node) == "");
    }
  }
}

TEST_CASE("loans over loopback are read where they lie, round after round") {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    for (const int ranks_per_node : {0, 1, 3}) {
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        CAPTURE(ranks, ranks_per_node, seed);
        const Clause clause = [&](Transport& transport) { return loans_are_read_where_they_lie(transport, seed); };
        REQUIRE(over_loopback(ranks, clause, ranks_per_node) == "");
        REQUIRE(over_faulty_loopback(ranks, {.seed = seed}, clause, ranks_per_node) == "");
      }
    }
  }
}

TEST_CASE("more memory than there is, is refused on every rank") {
  for (const int ranks : {1, 3}) REQUIRE(over_loopback(ranks, more_memory_than_there_is_is_refused) == "");
}

TEST_CASE("loopback allocates nothing after reserve") {
  for (const int ranks : {1, 2, 5}) REQUIRE(over_loopback(ranks, exchanges_allocate_nothing_after_reserve) == "");
}

TEST_CASE("a faulty loopback keeps the whole contract") {
  for (const int ranks : {1, 2, 3}) REQUIRE(over_faulty_loopback(ranks, {.seed = 1}, everything) == "");
}

TEST_CASE("a faulty loopback keeps the whole contract with every seed on up to 8 ranks", "[slow]") {
  for (const int ranks : {1, 2, 3, 4, 5, 8}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CAPTURE(ranks, seed);
      REQUIRE(over_faulty_loopback(ranks, {.seed = seed}, everything) == "");
    }
  }
}
