#include "partition/units.hpp"

#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace gyre {
namespace {

// Unit indices are ints everywhere above, so a table that needs more is refused before it is built.
void require_countable(std::int64_t tokens, std::int64_t unit_tokens, std::size_t cuts) {
  const std::int64_t most = std::numeric_limits<int>::max();
  if (tokens / unit_tokens + static_cast<std::int64_t>(cuts) + 1 > most) {
    throw std::invalid_argument("units of " + std::to_string(unit_tokens) + " tokens cut " + std::to_string(tokens) +
                                " tokens into more than " + std::to_string(most) + " units: use longer units");
  }
}

}  // namespace

Units::Units(std::int64_t tokens, std::int64_t unit_tokens, std::span<const std::int64_t> cuts) : unit_tokens_(unit_tokens) {
  if (tokens < 0) throw std::invalid_argument("the number of tokens is " + std::to_string(tokens) + ": it must be at least 0");
  if (unit_tokens < 1) throw std::invalid_argument("the unit is " + std::to_string(unit_tokens) + " tokens: it must be at least 1");
  require_countable(tokens, unit_tokens, cuts.size());

  std::vector<std::int64_t> ends;
  for (const std::int64_t cut : cuts) {
    if (0 < cut && cut < tokens) ends.push_back(cut);
  }
  ends.push_back(tokens);
  std::sort(ends.begin(), ends.end());

  for (const std::int64_t end : ends) {
    while (borders_.back() < end) {
      const std::int64_t begin = borders_.back();
      borders_.push_back(end - begin <= unit_tokens ? end : begin + unit_tokens);
    }
  }
}

int Units::unit_of(std::int64_t token) const {
  return static_cast<int>(std::upper_bound(borders_.begin(), borders_.end(), token) - borders_.begin()) - 1;
}

Range Units::units_touching(Range tokens) const {
  const Range inside = tokens & Range{0, this->tokens()};
  if (inside.empty()) return {};
  return {unit_of(inside.begin), unit_of(inside.end - 1) + 1};
}

std::int64_t Units::longest() const {
  std::int64_t longest = 0;
  for (int unit = 0; unit < count(); ++unit) longest = std::max(longest, length(unit));
  return longest;
}

std::int64_t default_unit_tokens(std::int64_t tokens, int ranks, std::int64_t wished) {
  constexpr std::int64_t kShortest = 64, kLongest = 512, kUnitsOfRank = 16;
  if (tokens < 0 || ranks < 1) {
    throw std::invalid_argument(std::to_string(tokens) + " tokens on " + std::to_string(ranks) +
                                " ranks: tokens must be at least 0 and ranks at least 1");
  }
  const auto sixteenth = static_cast<std::uint64_t>(std::clamp(tokens / 16, kShortest, kLongest));
  auto unit_tokens = static_cast<std::int64_t>(std::bit_floor(sixteenth));
  while (unit_tokens > kShortest && unit_tokens * 4 * ranks > tokens) unit_tokens /= 2;
  while (unit_tokens >= kLongest && 2 * unit_tokens <= wished && 2 * unit_tokens * kUnitsOfRank * ranks <= tokens) unit_tokens *= 2;
  return unit_tokens;
}

}  // namespace gyre
