// Pairs of queries and keys that query heads chose, as Python asks for them.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "runtime/problem.hpp"

namespace gyre::python {

class ChosenPairs {
 public:
  /// Those of the problem's mask.
  explicit ChosenPairs(Problem problem) : problem_(std::move(problem)), bands_(problem_.bands()) {}

  const Mask& mask() const { return problem_.mask; }
  double pairs() const { return problem_.visible_pairs(); }
  /// Throws std::invalid_argument for a head that there is not.
  bool visible(std::int64_t query, std::int64_t key, int head) const {
    if (head < 0 || head >= problem_.query_heads)
      throw std::invalid_argument("head is " + std::to_string(head) + "; give 0 to " + std::to_string(problem_.query_heads - 1));
    return bands_.visible(query, key, head);
  }

 private:
  Problem problem_;
  Bands bands_;
};

}  // namespace gyre::python
