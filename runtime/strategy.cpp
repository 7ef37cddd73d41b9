#include "runtime/strategy.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace gyre {
namespace {

constexpr std::pair<Strategy, const char*> kNames[] = {
    {Strategy::automatic, "auto"},
    {Strategy::ring, "ring"},
    {Strategy::bidirectional_ring, "bidirectional_ring"},
    {Strategy::double_ring, "double_ring"},
    {Strategy::all_gather, "all_gather"},
    {Strategy::ulysses, "ulysses"},
    {Strategy::hybrid, "hybrid"},
    {Strategy::pass_query, "pass_query"},
    {Strategy::tree, "tree"},
};
constexpr const char* kAll =
    "use ring, bidirectional_ring, double_ring, double_ring(INNER), all_gather, ulysses, hybrid(U), pass_query, tree or auto";

bool takes_group(Strategy kind) {
  return kind == Strategy::hybrid || kind == Strategy::double_ring;
}

/// The number in the parentheses behind a name; 0 if it is none.
int group_in(std::string_view text) {
  int group = 0;
  if (text.size() < 3 || text.back() != ')') return 0;
  const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size() - 1, group);
  return error == std::errc() && end == text.data() + text.size() - 1 && group > 0 ? group : 0;
}

[[noreturn]] void refuse_group(StrategyChoice strategy, int ranks) {
  std::string divisors;
  for (int divisor = 1; divisor <= ranks; ++divisor) {
    if (ranks % divisor == 0) divisors += (divisors.empty() ? "" : ", ") + std::to_string(divisor);
  }
  throw std::invalid_argument("strategy " + to_string(strategy) + " makes groups of " + std::to_string(strategy.group) + " of " +
                              std::to_string(ranks) + " ranks; give a divisor of them: " + divisors);
}

/// Ranks of a node, where all have as many and they follow each other; else 0.
int ranks_of_a_node(std::span<const int> nodes) {
  const auto count = static_cast<int>(std::count(nodes.begin(), nodes.end(), nodes[0]));
  for (std::size_t rank = 0; rank < nodes.size(); ++rank) {
    if (nodes[rank] != nodes[rank / count * count]) return 0;
    if (std::count(nodes.begin(), nodes.end(), nodes[rank]) != count) return 0;
  }
  return count;
}

[[noreturn]] void refuse_number(const std::string& text, const std::string& name, bool takes_one) {
  std::string message = "strategy '" + text + "' ";
  if (takes_one) {
    message += "lacks its number of ranks; give " + name + "(4), for instance";
  } else {
    message += "has a number, and " + name + " takes none; leave it out";
  }
  throw std::invalid_argument(message);
}

}  // namespace

StrategyChoice parse_strategy(const std::string& text) {
  const std::string name = text.substr(0, text.find('('));
  const std::string_view rest = std::string_view(text).substr(name.size());
  for (const auto& [kind, its_name] : kNames) {
    if (name != its_name) continue;
    if (rest.empty() && kind != Strategy::hybrid) return kind;
    const int group = group_in(rest);
    if (takes_group(kind) && group > 0) return {kind, group};
    refuse_number(text, name, takes_group(kind));
  }
  throw std::invalid_argument("strategy '" + text + "' is unknown; " + kAll);
}

std::string to_string(StrategyChoice strategy) {
  for (const auto& [kind, name] : kNames) {
    if (kind == strategy.kind) return strategy.group > 0 ? std::string(name) + "(" + std::to_string(strategy.group) + ")" : name;
  }
  return "?";
}

StrategyChoice resolve(StrategyChoice strategy, std::span<const int> nodes) {
  const auto ranks = static_cast<int>(nodes.size());
  if (strategy.kind == Strategy::automatic) return Strategy::ring;
  if (strategy.kind == Strategy::double_ring && strategy.group == 0) {
    strategy.group = ranks_of_a_node(nodes);
    if (strategy.group == 0) {
      throw std::invalid_argument(
          "strategy double_ring needs as many ranks on every node, one node's after the other's; give double_ring(INNER) or use "
          "ring");
    }
  }
  if (takes_group(strategy.kind) && (strategy.group > ranks || ranks % strategy.group != 0)) refuse_group(strategy, ranks);
  return strategy;
}

}  // namespace gyre
