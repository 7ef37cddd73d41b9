// Problems that cannot be, and ranks that were told different things: every rank hears the same.
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

TEST_CASE("problems that cannot be are refused by value, limit and remedy") {
  const auto refusal = [](auto&& change) {
    std::string message;
    run_loopback(2, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 16;
      Options options;
      change(problem, options);
      try {
        Attention(transport, problem, options);
      } catch (const std::invalid_argument& error) {
        if (transport.rank() == 0) message = error.what();
      }
    });
    return message;
  };
  CHECK(refusal([](Problem& p, Options&) { p.query_heads = 6, p.key_heads = 4; }).find("divisor") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.head_dim = 577; }).find("576") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.value_dim = 0; }).find("value dim") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) { p.mask = Mask::parse("documents(5,5)"); }).find("10") != std::string::npos);
  CHECK(refusal([](Problem& p, Options&) {
          p.mask = Mask::blocks(BlockTable({.query_tokens = 5, .key_tokens = 5, .rows = 3, .columns = 4}), "b");
        }).find("must be [4, 4]") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.unit_tokens = kLongestUnit + 1; }).find("unit") != std::string::npos);
  for (const double softcap : {0.0, -1.0, 1e7, std::nan("")})
    CHECK(refusal([&](Problem& p, Options&) { p.softcap = softcap; }).find("softcap is") != std::string::npos);
  for (const double probability : {-0.1, 1.0, std::nan("")})
    CHECK(refusal([&](Problem& p, Options&) { p.dropout = {.probability = probability}; }).find("dropout is") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.isa = "sse1"; }).find("portable") != std::string::npos);
  CHECK(refusal([](Problem&, Options& o) { o.prefetch = 5; }).find("prefetch") != std::string::npos);
}

TEST_CASE("ranks that were given different problems all hear which input differs") {
  for (const int ranks : {2, 5}) {
    std::vector<std::string> heard(ranks);
    run_loopback(ranks, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      problem.head_dim = transport.rank() == ranks - 1 ? 32 : 64;
      try {
        Attention(transport, problem, {});
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    for (const std::string& message : heard) {
      CHECK(message == heard[0]);
      CHECK(message.find("head dim") != std::string::npos);
      CHECK(message.find("32") != std::string::npos);
    }
  }
}

TEST_CASE("ranks that read different files of one name disagree about the mask's files") {
  for (const bool tables : {true, false}) {
    std::vector<std::string> heard(3);
    run_loopback(3, [&](Transport& transport) {
      Problem problem;
      problem.query_tokens = problem.key_tokens = 100;
      const bool odd = transport.rank() == 1;
      std::vector<std::uint8_t> cells(16, 1);
      cells[6] = odd;
      problem.mask = tables
                         ? Mask::blocks(BlockTable({.query_tokens = 25, .key_tokens = 25, .rows = 4, .columns = 4}, cells), "b.npy")
                         : Mask::documents(std::vector<std::int64_t>{50 - odd, 50 + odd}, "lengths.npy");
      try {
        Attention(transport, problem, {});
      } catch (const std::invalid_argument& error) {
        heard[transport.rank()] = error.what();
      }
    });
    for (const std::string& message : heard) {
      CHECK(message == heard[0]);
      CHECK(message.find("mask's files") != std::string::npos);
    }
  }
}

TEST_CASE("ranks that read different documents of one name disagree, even where those lie inside others and are no bands") {
  std::vector<std::string> heard(2);
  run_loopback(2, [&](Transport& transport) {
    Problem problem;
    problem.query_tokens = problem.key_tokens = 600;
    const std::int64_t odd = transport.rank();
    problem.mask =
        Mask::parse("documents(300,300)") | Mask::documents(std::vector<std::int64_t>{250 - odd, 50 + odd, 300}, "l.npy");
    try {
      Attention(transport, problem, {});
    } catch (const std::invalid_argument& error) {
      heard[transport.rank()] = error.what();
    }
  });
  for (const std::string& message : heard) CHECK(message.find("mask's files") != std::string::npos);
}

TEST_CASE("operands that do not fit on one rank are refused on every rank before anything is sent") {
  std::vector<std::uint64_t> sent(3, 1);  // [rank]; assertions are for the one thread that Catch2 knows
  std::vector<std::string> heard(3);
  run_loopback(3, [&](Transport& transport) {
    Problem problem;
    problem.query_tokens = problem.key_tokens = 90;
    problem.head_dim = problem.value_dim = 4;
    Attention attention(transport, problem, {});
    std::vector<float> rows(90 * 4);
    std::int64_t tokens = 0;
    for (const Range& range : attention.query_rows()) tokens += range.size();
    Operands operands{.queries = {rows.data(), tokens, 1, 4},
                      .keys = {rows.data(), tokens + (transport.rank() == 1 ? 1 : 0), 1, 4},
                      .values = {rows.data(), tokens, 1, 4},
                      .out = {rows.data(), tokens, 1, 4}};
    try {
      attention.forward(operands);
    } catch (const std::invalid_argument& error) {
      heard[transport.rank()] = error.what();
    }
    sent[transport.rank()] = transport.traffic().bytes_sent;
  });
  CHECK(sent == std::vector<std::uint64_t>(3, 0));
  for (const std::string& message : heard) CHECK(message.find("keys is") != std::string::npos);
}
