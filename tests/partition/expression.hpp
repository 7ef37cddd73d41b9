// Random mask expressions, and what they mean: a tree that is evaluated pair by pair, straight from the table of primitives. It
// shares nothing with the code under test.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "partition/mask.hpp"

namespace gyre::test {

struct Expression {
  enum class Kind {
    full,
    causal,
    window,
    sinks,
    prefix,
    documents,
    dilated,
    strided,
    blocks,
    columns,
    diagonals,
    slices,
    both,
    either
  };
  Kind kind = Kind::full;
  std::vector<std::int64_t> numbers;  // of tables: BQ and BK, and what they are drawn from: seed, heads, rows, columns
  std::vector<Expression> operands;   // two, of both and either

  /// head is for tables, first_query (the position of the first query) for those of blocks and slices.
  bool visible(std::int64_t query, std::int64_t key, int head = 0, std::int64_t first_query = 0) const;
  Mask mask() const;         // by the factories and operators
  std::string text() const;  // every operator in parentheses
};

/// A tree with that many primitives. Documents add up to key_tokens. heads: 0 for none with tables or slices, else tables are for
/// one head or that many.
Expression random_expression(std::mt19937_64& random, int primitives, std::int64_t key_tokens, int heads = 0);

/// Uniform in [least, most].
std::int64_t draw(std::mt19937_64& random, std::int64_t least, std::int64_t most);

/// Lengths of 1 to `longest` that add up to `tokens`.
std::vector<std::int64_t> random_lengths(std::mt19937_64& random, std::int64_t tokens, std::int64_t longest);

}  // namespace gyre::test
