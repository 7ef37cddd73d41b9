// Strategies: which schedule distributes the work, by name.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace gyre {

enum class Strategy : std::uint8_t {
  automatic,
  ring,
  bidirectional_ring,
  double_ring,
  all_gather,
  ulysses,
  hybrid,
  pass_query,
  tree
};

/// A strategy and its number, if it takes one.
struct StrategyChoice {
  Strategy kind = Strategy::automatic;
  int group = 0;  // of hybrid(U): ranks that share heads; of double_ring(INNER): ranks of an inner ring, 0: those of a node
  StrategyChoice() = default;
  StrategyChoice(Strategy a_kind, int a_group = 0) : kind(a_kind), group(a_group) {}  // NOLINT(google-explicit-constructor)
  bool operator==(const StrategyChoice&) const = default;
};

/// "ring", "hybrid(4)", "double_ring"... Throws std::invalid_argument naming the strategies that there are.
StrategyChoice parse_strategy(const std::string& text);
std::string to_string(StrategyChoice strategy);  // parses to the same

/// The choice for ranks on these nodes, with nothing left open: never automatic, no group of 0 where one is meant. Throws
/// std::invalid_argument where groups do not divide the ranks, naming what would.
StrategyChoice resolve(StrategyChoice strategy, std::span<const int> nodes);

}  // namespace gyre
