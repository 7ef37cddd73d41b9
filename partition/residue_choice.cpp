#include "partition/residue_choice.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "partition/band_algebra.hpp"

namespace gyre {
namespace {

constexpr double kStripRows = 16, kPanelKeys = 8;
constexpr double kUnitKeys = 4;          // what it costs to add a unit to its rows: 7 cycles a channel, of which a key takes 2
constexpr double kWorthwhile = 0.75;     // of the cost of tokens as they come
constexpr std::size_t kMostStrides = 8;  // that are looked at

/// What a strip is, in some order: the tokens from its first row's to its last one's, and how many residue classes it has.
struct Strip {
  double tokens = 0;
  double span = 0;
  double classes = 1;
};

Strip strip_of(int group, ResidueOrder order, std::int64_t unit_tokens) {
  const double tokens = std::max(1.0, kStripRows / group);
  if (order.stride == 1) return {.tokens = tokens, .span = tokens - 1};
  const auto stride = static_cast<double>(order.stride), unit = static_cast<double>(unit_tokens);
  return {.tokens = tokens, .span = std::min(unit, tokens * stride), .classes = std::max(1.0, tokens * stride / unit)};
}

/// The share of the keys within a strip's reach that lie in panels which it touches.
double share_touched(std::int64_t modulus, const Strip& strip, ResidueOrder order, std::int64_t unit_tokens) {
  const auto stride = static_cast<double>(order.stride);
  const double shared = static_cast<double>(std::gcd(modulus, order.stride));
  if (order.stride == 1) return modulus == 1 ? 1 : (strip.tokens + kPanelKeys - 1) / static_cast<double>(modulus);
  const double of_class = static_cast<double>(unit_tokens) / stride;
  const double rounded = unit_tokens % (order.stride * 8) == 0 ? 1 : (of_class + kPanelKeys - 1) / of_class;
  return strip.classes * rounded / shared;
}

double keys_of_band(const Band& band, const Strip& strip, ResidueOrder order, std::int64_t unit_tokens) {
  Band every_diagonal = band;
  every_diagonal.modulus = 1, every_diagonal.residue = 0;
  const double width = static_cast<double>(count_pairs(every_diagonal)) / static_cast<double>(band.queries.size());
  const double most = static_cast<double>(band.keys.size()), reach = std::min(most, width + strip.span);
  const double share = std::min(1.0, share_touched(band.modulus, strip, order, unit_tokens));
  const double rounding = (kPanelKeys - 1) * static_cast<double>(order.stride);  // a panel is of one class
  const double keys = std::min(most, share * (reach + rounding));
  return keys + kUnitKeys * (1 + reach / static_cast<double>(unit_tokens));
}

std::vector<std::int64_t> strides_of(const Bands& bands) {
  std::vector<std::int64_t> strides;
  for (const Band& band : bands.all()) {
    if (strides.size() == kMostStrides) break;
    const bool known = std::find(strides.begin(), strides.end(), band.modulus) != strides.end();
    if (band.modulus > 1 && !known) strides.push_back(band.modulus);
  }
  return strides;
}

}  // namespace

std::vector<UnitTokens> unit_choices(std::int64_t query_tokens, std::int64_t key_tokens, int ranks, std::int64_t wished,
                                     std::int64_t longest) {
  const auto with_wish = [&](std::int64_t tokens) {
    return UnitTokens{.queries = default_unit_tokens(query_tokens, ranks, tokens),
                      .keys = default_unit_tokens(key_tokens, ranks, tokens)};
  };
  std::vector<UnitTokens> choices{with_wish(wished)};
  for (std::int64_t keys = 2 * choices.front().keys; keys <= longest && with_wish(keys).keys == keys; keys *= 2) {
    choices.push_back(with_wish(keys));
  }
  return choices;
}

double keys_of_strip(const Bands& bands, Range queries, Range keys, int group, ResidueOrder order, UnitTokens units) {
  if (queries.empty() || keys.empty()) return 0;
  const Strip strip = strip_of(group, order, units.queries);
  double sum = 0;
  for (const Band& band : bands.all()) {
    const Band part = clipped(band, queries, keys);
    if (part.empty()) continue;
    const Band tight = normal_form(part);
    sum += keys_of_band(tight, strip, order, units.keys) * static_cast<double>(tight.queries.size());
  }
  return sum / static_cast<double>(queries.size());
}

ResidueChoice choose_residues(const Bands& bands, Range queries, Range keys, int group, std::span<const UnitTokens> units) {
  ResidueChoice best{.order = {}, .units = units.front()};
  const std::vector<std::int64_t> strides = strides_of(bands);
  if (strides.empty() || !bands.tables().empty()) return best;
  double least = kWorthwhile * keys_of_strip(bands, queries, keys, group, best.order, best.units);
  for (const std::int64_t stride : strides) {
    for (const UnitTokens lengths : units) {
      if (std::min(lengths.queries, lengths.keys) < 2 * stride) continue;
      const double cost = keys_of_strip(bands, queries, keys, group, {.stride = stride}, lengths);
      if (cost < least) best = {.order = {.stride = stride}, .units = lengths}, least = cost;
    }
  }
  return best;
}

}  // namespace gyre
