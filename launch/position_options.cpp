#include "launch/position_options.hpp"

#include <vector>

#include "runtime/text.hpp"

namespace gyre {
namespace {

std::vector<std::string> pieces_of(const std::string& text) {
  std::vector<std::string> pieces{""};
  for (const char letter : text) {
    if (letter == ',') {
      pieces.emplace_back();
    } else {
      pieces.back() += letter;
    }
  }
  return pieces;
}

/// The whole text as a number between two others.
template <class Number>
std::optional<Number> number(const std::string& text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && value >= least && value <= most ? std::optional(value) : std::nullopt;
}

[[noreturn]] void refuse_value(const Given& given, const char* name, const std::string& remedy) {
  refuse(std::string("--") + name + " is '" + given.text(name) + "'; give " + remedy);
}

Rotary base_and_layout(const Given& given) {
  const std::vector<std::string> pieces = pieces_of(given.text("rope"));
  Rotary rotary;
  const auto base = number(pieces[0], 1.0, kLargestRotaryBase);
  const bool named = pieces.size() < 2 || pieces[1] == "half" || pieces[1] == "interleaved";
  const auto dims = pieces.size() < 3 ? std::optional(0) : number(pieces[2], 2, 2 * kMostRotaryPairs);
  if (!base || *base == 1 || !named || !dims || pieces.size() > 3)
    refuse_value(given, "rope",
                 "a base above 1, to " + number_text(kLargestRotaryBase) +
                     ", then half or interleaved, then how many dims of a head are rotated: --rope 10000,interleaved,64");
  rotary.base = *base, rotary.dims = *dims;
  if (pieces.size() > 1 && pieces[1] == "interleaved") rotary.layout = RotaryLayout::interleaved;
  return rotary;
}

/// SCALE,ORIGINAL
void take_yarn(const Given& given, Rotary& rotary) {
  const std::vector<std::string> pieces = pieces_of(given.text("yarn"));
  const auto scale = number(pieces[0], 1.0, kLargestRotaryScale);
  const auto original =
      pieces.size() == 2 ? number(pieces[1], std::int64_t{1}, kLargestOriginalTokens) : std::optional<std::int64_t>();
  if (!scale || !original)
    refuse_value(given, "yarn",
                 "a scale from 1 to " + number_text(kLargestRotaryScale) +
                     ", a comma and the length that the model was trained for: --yarn 4,4096");
  rotary.scaling = RotaryScaling::yarn, rotary.scale = *scale, rotary.original_tokens = *original;
}

}  // namespace

std::optional<Rotary> rotary_of(const Given& given) {
  std::optional<std::string> scaling;
  for (const char* name : {"yarn", "rope-linear", "rope-ntk"}) {
    if (!given.has(name)) continue;
    if (!given.has("rope")) refuse(std::string("--") + name + " scales rotary positions, and there are none; give --rope BASE");
    if (scaling) refuse("--" + *scaling + " and --" + name + " exclude each other; remove one");
    scaling = name;
  }
  if (!given.has("rope")) return std::nullopt;
  Rotary rotary = base_and_layout(given);
  if (scaling == "yarn") take_yarn(given, rotary);
  for (const auto& [name, kind] : {std::pair{"rope-linear", RotaryScaling::linear}, {"rope-ntk", RotaryScaling::ntk}}) {
    if (scaling == name) rotary.scaling = kind, rotary.scale = *given.real(name, 1, kLargestRotaryScale);
  }
  return rotary;
}

std::optional<DualChunk> dual_chunk_of(const Given& given) {
  if (!given.has("dual-chunk")) return std::nullopt;
  const std::vector<std::string> pieces = pieces_of(given.text("dual-chunk"));
  std::vector<std::int64_t> numbers;
  for (const std::string& piece : pieces) {
    if (const auto tokens = number(piece, std::int64_t{0}, kLongestChunk)) numbers.push_back(*tokens);
  }
  if (numbers.size() != pieces.size() || pieces.size() < 2 || pieces.size() > 3)
    refuse_value(
        given, "dual-chunk",
        "a chunk and a local window, in tokens, and, for the temperature of Qwen, the length that the model was trained for: "
        "--dual-chunk 3072,512");
  DualChunk dual_chunk{.chunk = numbers[0], .local = numbers[1]};
  if (numbers.size() == 3) dual_chunk.original_tokens = numbers[2];
  dual_chunk.validate();
  return dual_chunk;
}

}  // namespace gyre
