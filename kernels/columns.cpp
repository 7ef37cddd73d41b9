#include "kernels/columns.hpp"

#include <algorithm>

#include "kernels/convert.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kPanelKeys = kColumns.most_keys + 1;

/// Where an element of a cell lies, or of what is gathered: Pair of them in a word, neighbours along the dims of keys and along the
/// keys of values.
template <int Pair>
std::int64_t key_at(std::int64_t key, std::int64_t dim, std::int64_t dims) {
  return ((key / kStrip * (dims / Pair) + dim / Pair) * kStrip + key % kStrip) * Pair + dim % Pair;
}
template <int Pair>
std::int64_t value_at(std::int64_t key, std::int64_t channel, std::int64_t keys) {
  return ((channel / kChannels * (keys / Pair) + key / Pair) * kChannels + channel % kChannels) * Pair + key % Pair;
}

template <int FromPair, int ToPair, class From, class To>
void gather(const CellShape& shape, const From* cell, std::int64_t tokens, std::span<const std::int16_t> places, To* to,
            std::int64_t value_offset) {
  const std::int64_t dims = cell_dims(shape), channels = round_up(shape.value_dim, kChannels);
  const std::int64_t keys = round_up(tokens, kStrip), count = std::ssize(places), rounded = round_up(count, kStrip);
  const From* const values = cell + value_offset_elements(shape, tokens);
  for (std::int64_t at = 0; at < count; ++at) {
    const std::int64_t key = places[static_cast<std::size_t>(at)];
    for (std::int64_t dim = 0; dim < dims; ++dim)
      to[key_at<ToPair>(at, dim, dims)] = from_float<To>(to_float(cell[key_at<FromPair>(key, dim, dims)]));
    for (std::int64_t channel = 0; channel < channels; ++channel)
      to[value_offset + value_at<ToPair>(at, channel, rounded)] =
          from_float<To>(to_float(values[value_at<FromPair>(key, channel, keys)]));
  }
}

}  // namespace

std::vector<std::int16_t> columns_of(const Bands& bands, std::int64_t query, Range query_heads, Range unit) {
  std::vector<std::int64_t> keys;
  bands.columns(query, unit, kColumns, query_heads, keys);
  std::int64_t panels = 0, last = -1;
  std::vector<std::int16_t> places;
  for (const std::int64_t key : keys) {
    const std::int64_t place = key - unit.begin;
    panels += place / kPanelKeys != last;
    last = place / kPanelKeys;
    places.push_back(static_cast<std::int16_t>(place));
  }
  if (2 * ((std::ssize(places) + kPanelKeys - 1) / kPanelKeys) > panels) places.clear();
  return places;
}

std::int64_t unit_tokens_for_columns(const Bands& bands) {
  const auto has_columns = [](const Band& band) {
    return band.blocks != nullptr && band.blocks->shape().key_tokens <= kColumns.most_keys &&
           band.blocks->shape().query_tokens >= kColumns.least_queries;
  };
  return std::any_of(bands.all().begin(), bands.all().end(), has_columns) ? kLongestUnit : 0;
}

ColumnLayout column_layout(const CellShape& shape, std::int64_t count, bool pairs) {
  const std::int64_t rounded = round_up(count, kStrip), in_word = pairs ? 2 : 1;
  const std::int64_t key_words = rounded * cell_dims(shape) / in_word;
  return {.key_words = key_words, .words = key_words + rounded / in_word * round_up(shape.value_dim, kChannels)};
}

void gather_columns(const CellShape& shape, const std::byte* cell, std::int64_t tokens, std::span<const std::int16_t> places,
                    bool pairs, float* to) {
  const auto [key_words, words] = column_layout(shape, std::ssize(places), pairs);
  std::fill_n(to, words, 0.0F);
  switch (shape.type) {
    case Type::f32:
      return gather<1, 1>(shape, reinterpret_cast<const float*>(cell), tokens, places, to, key_words);
    case Type::f16:
      return gather<1, 1>(shape, reinterpret_cast<const f16*>(cell), tokens, places, to, key_words);
    case Type::bf16:
      break;
  }
  const auto* const from = reinterpret_cast<const bf16*>(cell);
  if (pairs) return gather<2, 2>(shape, from, tokens, places, reinterpret_cast<bf16*>(to), 2 * key_words);
  gather<2, 1>(shape, from, tokens, places, to, key_words);
}

}  // namespace gyre
