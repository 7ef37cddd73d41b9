#include "launch/owner_colours.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr double kChroma = 0.125;  // of OKLCH: what sRGB has at every hue and most of these lightnesses
constexpr double kLightest = 0.83, kDarkest = 0.52, kMiddle = 0.68, kDarkText = 0.64;
constexpr double kFirstHue = 255;  // blue

/// One channel of sRGB, from linear light.
int channel(double light) {
  const double clipped = std::clamp(light, 0.0, 1.0);
  const double encoded = clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * std::pow(clipped, 1 / 2.4) - 0.055;
  return static_cast<int>(std::lround(255 * encoded));
}

/// OKLCH to sRGB, by the matrices of Ottosson, "A perceptual color space for image processing" (2020).
std::string to_hex(double lightness, double hue_degrees) {
  const double hue = hue_degrees * std::numbers::pi / 180, a = kChroma * std::cos(hue), b = kChroma * std::sin(hue);
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  return format("#%02x%02x%02x", channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s));
}

}  // namespace

OwnerColours::OwnerColours(std::span<const int> node_of_rank) {
  const auto ranks = std::ssize(node_of_rank);
  const int nodes = ranks == 0 ? 0 : *std::max_element(node_of_rank.begin(), node_of_rank.end()) + 1;
  std::vector<int> size(static_cast<std::size_t>(nodes));
  for (const int node : node_of_rank) ++size[static_cast<std::size_t>(node)];
  by_node_ = nodes > 1 && nodes < ranks;
  for (int node = 0; node < nodes; ++node) nodes_.push_back({kMiddle, kFirstHue + 360.0 * node / nodes});
  std::vector<int> seen(static_cast<std::size_t>(nodes));
  for (std::ptrdiff_t rank = 0; rank < ranks; ++rank) {
    const auto node = static_cast<std::size_t>(node_of_rank[static_cast<std::size_t>(rank)]);
    const double place = (seen[node]++ + 0.5) / size[node];
    // Neighbours on a crowded circle of hues differ in lightness too.
    const double turns = ranks > 6 ? (rank % 2 == 0 ? 0.06 : -0.06) : 0;
    if (by_node_) ranks_.push_back({kLightest + (kDarkest - kLightest) * place, nodes_[node].hue});
    if (!by_node_) ranks_.push_back({kMiddle + turns, kFirstHue + 360.0 * static_cast<double>(rank) / static_cast<double>(ranks)});
  }
}

std::string OwnerColours::of(int rank) const {
  if (rank < 0 || rank >= std::ssize(ranks_)) return "#d8d8d8";
  const Colour& colour = ranks_[static_cast<std::size_t>(rank)];
  return to_hex(colour.lightness, colour.hue);
}

std::string OwnerColours::text_on(int rank) const {
  const bool dark = rank >= 0 && rank < std::ssize(ranks_) && ranks_[static_cast<std::size_t>(rank)].lightness < kDarkText;
  return dark ? "#fff" : "#222";
}

std::string OwnerColours::of_node(int node) const {
  const Colour& colour = nodes_[static_cast<std::size_t>(node)];
  return to_hex(colour.lightness, colour.hue);
}

}  // namespace gyre
