#include "kernels/integrity.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace gyre {
namespace {

static_assert(std::endian::native == std::endian::little, "trailers travel as they lie in memory");

using Trailer = std::array<std::byte, kTrailerBytes>;

Trailer trailer_of(const CellName& name, std::span<const std::byte> content) {
  const std::uint64_t seed = std::uint64_t{name.unit} << 32 | std::uint64_t{name.head} << 8 | static_cast<std::uint64_t>(name.role);
  const std::uint64_t hash = XXH3_64bits_withSeed(content.data(), content.size(), seed);
  Trailer trailer{};
  std::memcpy(trailer.data(), &hash, sizeof hash);
  return trailer;
}

}  // namespace

void seal_cell(const CellName& name, std::span<std::byte> cell) {
  if (cell.empty()) return;
  const auto content = cell.first(cell.size() - kTrailerBytes);
  const Trailer trailer = trailer_of(name, content);
  std::copy(trailer.begin(), trailer.end(), cell.last(kTrailerBytes).begin());
}

bool verify_cell(const CellName& name, std::span<const std::byte> cell) {
  if (cell.empty()) return true;
  const Trailer expected = trailer_of(name, cell.first(cell.size() - kTrailerBytes));
  return std::equal(expected.begin(), expected.end(), cell.last(kTrailerBytes).begin());
}

}  // namespace gyre
