#include "launch/option_names.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

namespace gyre {
namespace {

constexpr std::string_view kNotBuilt[] = {"reproducible"};

/// Levenshtein's distance.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> names) {
  std::string nearest;
  std::size_t least = 3;
  for (const std::string& candidate : names) {
    const bool beginning = name.size() >= 3 && candidate.starts_with(name);
    const std::size_t distance = beginning ? 1 : edits(name, candidate);
    if (distance < least && distance < candidate.size()) nearest = candidate, least = distance;
  }
  return nearest;
}

void refuse_option(std::string_view command, const std::string& name, std::span<const std::string> known) {
  std::vector<std::string> names(known.begin(), known.end());
  if (command == "run") {
    if (std::find(std::begin(kNotBuilt), std::end(kNotBuilt), name) != std::end(kNotBuilt))
      throw std::invalid_argument("--" + name + " is not built yet; remove it");
    names.insert(names.end(), std::begin(kNotBuilt), std::end(kNotBuilt));
  }
  if (command == "plan" && (name == "yarn" || name.starts_with("rope")))
    throw std::invalid_argument("--" + name + " changes what gyre run computes, and no cost that gyre plan counts; remove it");
  const std::string nearest = nearest_name(name, names);
  throw std::invalid_argument(
      "unknown option --" + name +
      (nearest.empty() ? "; gyre " + std::string(command) + " --help lists those there are" : "; did you mean --" + nearest + "?"));
}

}  // namespace gyre
