#include "partition/band_algebra.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

namespace gyre {
namespace {

using Wide = __int128;  // products of two positions

template <class Integer>
Integer floor_mod(Integer value, Integer modulus) {
  const Integer rest = value % modulus;
  return rest < 0 ? rest + modulus : rest;
}

// The inverse of value modulo a modulus that it shares no factor with, by the extended Euclidean algorithm.
Wide inverse(std::int64_t value, std::int64_t modulus) {
  Wide remainder = modulus, next_remainder = value % modulus;
  Wide factor = 0, next_factor = 1;
  while (next_remainder != 0) {
    const Wide quotient = remainder / next_remainder;
    remainder = std::exchange(next_remainder, remainder - quotient * next_remainder);
    factor = std::exchange(next_factor, factor - quotient * next_factor);
  }
  return floor_mod<Wide>(factor, modulus);
}

// Residue and modulus of the diagonals in both classes. The merged modulus may leave 64 bits; then at most one diagonal of the
// class lies within [-kUnbounded, kUnbounded], and that one is written as limits. False: no diagonal is in both.
bool merge_residues(const Band& a, const Band& b, Band& both) {
  const std::int64_t shared = std::gcd(a.modulus, b.modulus);
  if ((b.residue - a.residue) % shared != 0) return false;
  const std::int64_t b_rest = b.modulus / shared;
  const Wide steps = floor_mod<Wide>((b.residue - a.residue) / shared * inverse(a.modulus / shared, b_rest), b_rest);
  const Wide residue = a.residue + a.modulus * steps;
  const Wide modulus = Wide{a.modulus} * b_rest;
  if (modulus <= Wide{2} * kUnbounded) {
    both.modulus = static_cast<std::int64_t>(modulus);
    both.residue = static_cast<std::int64_t>(residue);
    return true;
  }
  const Wide diagonal = residue <= both.upper ? residue : residue - modulus;
  if (diagonal < both.lower || diagonal > both.upper) return false;
  both.lower = both.upper = static_cast<std::int64_t>(diagonal);
  return true;
}

// Whoever contains another comes first.
bool wider_first(const Band& a, const Band& b) {
  const auto rectangle = [](const Band& band) {
    return std::tuple(band.queries.begin, -band.queries.end, band.keys.begin, -band.keys.end);
  };
  const auto strip = [](const Band& band) {
    const Diagonals seen = diagonals_of(band);
    return std::tuple(seen.first, -seen.last, band.modulus, (band.blocks != nullptr) + (band.diagonals != nullptr));
  };
  const auto a_rectangle = rectangle(a), b_rectangle = rectangle(b);
  return a_rectangle != b_rectangle ? a_rectangle < b_rectangle : strip(a) < strip(b);
}

}  // namespace

bool Band::visible(std::int64_t query, std::int64_t key) const {
  const std::int64_t diagonal = key - query;
  return queries.contains(query) && keys.contains(key) && lower <= diagonal && diagonal <= upper &&
         (modulus == 1 || floor_mod(diagonal, modulus) == residue);
}

bool Band::empty() const {
  return diagonals_of(*this).empty();
}

Range Band::keys_of(std::int64_t query) const {
  if (!queries.contains(query)) return {};
  return keys & Range{query + lower, query + upper + 1};
}

Band operator&(const Band& a, const Band& b) {
  Band both{a.queries & b.queries, a.keys & b.keys, std::max(a.lower, b.lower), std::min(a.upper, b.upper)};
  both.blocks = a.blocks != nullptr ? a.blocks : b.blocks;
  both.diagonals = a.diagonals != nullptr ? a.diagonals : b.diagonals;
  if (a.modulus == 1 || b.modulus == 1) {
    both.modulus = std::max(a.modulus, b.modulus);
    both.residue = std::max(a.residue, b.residue);
  } else if (!merge_residues(a, b, both)) {
    both.queries = {};
  }
  return both;
}

Diagonals diagonals_of(const Band& band) {
  if (band.queries.empty() || band.keys.empty()) return {};
  const std::int64_t first = std::max(band.lower, band.keys.begin - (band.queries.end - 1));
  const std::int64_t last = std::min(band.upper, band.keys.end - 1 - band.queries.begin);
  if (band.modulus == 1) return {first, last};
  return {first + floor_mod(band.residue - first, band.modulus), last - floor_mod(last - band.residue, band.modulus)};
}

Band clipped(Band band, Range queries, Range keys) {
  band.queries = band.queries & queries;
  band.keys = band.keys & keys;
  return band;
}

bool contains(const Band& outer, const Band& inner, const Diagonals& seen) {
  if (outer.blocks != nullptr && outer.blocks != inner.blocks) return false;
  if (outer.diagonals != nullptr && outer.diagonals != inner.diagonals) return false;
  if (!outer.queries.contains(inner.queries) || !outer.keys.contains(inner.keys)) return false;
  if (seen.first < outer.lower || outer.upper < seen.last) return false;
  const bool same_step = seen.first == seen.last || inner.modulus % outer.modulus == 0;
  return same_step && floor_mod(seen.first, outer.modulus) == outer.residue;
}

// A query i sees keys of [begin, end) through diagonals [first, last] if i + last >= begin and i + first < end; keys likewise.
Band normal_form(Band band) {
  const Diagonals seen = diagonals_of(band);
  const Range queries = band.queries;
  band.queries = queries & Range{band.keys.begin - seen.last, band.keys.end - seen.first};
  band.keys = band.keys & Range{queries.begin + seen.first, queries.end + seen.last};
  if (seen.first == seen.last) {
    band.modulus = 1;
    band.residue = 0;
  }
  const Diagonals uncut = diagonals_of({band.queries, band.keys, -kUnbounded, kUnbounded, band.modulus, band.residue});
  band.lower = seen.first <= uncut.first ? -kUnbounded : seen.first;
  band.upper = seen.last >= uncut.last ? kUnbounded : seen.last;
  return band;
}

Range reach(const Band& band) {
  const Diagonals seen = diagonals_of(band);
  if (seen.empty()) return {};
  return band.keys & Range{band.queries.begin + seen.first, band.queries.end + seen.last};
}

// The pairs on a diagonal grow by one per diagonal up to the lower of the two inner corners, stay level between them and shrink
// after the higher one: three arithmetic progressions.
std::int64_t count_pairs(const Band& band) {
  const Diagonals seen = diagonals_of(band);
  const Range queries = band.queries, keys = band.keys;
  const auto pairs_on = [&](std::int64_t diagonal) {
    return std::min(queries.end, keys.end - diagonal) - std::max(queries.begin, keys.begin - diagonal);
  };
  const auto progression = [&](std::int64_t from, std::int64_t to) -> std::int64_t {
    from += floor_mod(band.residue - from, band.modulus);
    if (to < from) return 0;
    const std::int64_t terms = (to - from) / band.modulus + 1;
    return (pairs_on(from) + pairs_on(from + (terms - 1) * band.modulus)) * terms / 2;
  };
  const auto [low, high] = std::minmax({keys.begin - queries.begin, keys.end - queries.end});
  return progression(seen.first, std::min(low, seen.last)) + progression(std::max(low + 1, seen.first), std::min(high, seen.last)) +
         progression(std::max(high + 1, seen.first), seen.last);
}

std::vector<Band> without_contained(std::vector<Band> bands) {
  std::erase_if(bands, [](const Band& band) { return band.empty(); });
  for (Band& band : bands) band = normal_form(band);
  std::sort(bands.begin(), bands.end(), wider_first);

  std::vector<Band> kept;
  std::vector<std::size_t> open;  // of those kept, which reach the queries at hand
  for (const Band& band : bands) {
    std::erase_if(open, [&](std::size_t k) { return kept[k].queries.end <= band.queries.begin; });
    const Diagonals seen = diagonals_of(band);
    if (std::any_of(open.begin(), open.end(), [&](std::size_t k) { return contains(kept[k], band, seen); })) continue;
    open.push_back(kept.size());
    kept.push_back(band);
  }
  return kept;
}

}  // namespace gyre
