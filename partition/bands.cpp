#include "partition/bands.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>

#include "partition/band_algebra.hpp"

namespace gyre {
namespace {

void require_well_formed(const Band& band) {
  if (band.modulus < 1 || band.modulus > 2 * kUnbounded || band.residue < 0 || band.residue >= band.modulus) {
    throw std::invalid_argument("a band has residue " + std::to_string(band.residue) + " and modulus " +
                                std::to_string(band.modulus) +
                                ": the modulus must be at least 1, the residue at least 0 and below the modulus");
  }
  const bool near = std::min({band.queries.begin, band.keys.begin, band.lower}) >= -kUnbounded &&
                    std::max({band.queries.end, band.keys.end, band.upper}) <= kUnbounded;
  if (!near) throw std::invalid_argument("a band reaches farther than 2^60, which stands for no limit: use kUnbounded");
}

void require_few(std::size_t bands) {
  if (bands > Bands::kMostBands) {
    throw std::invalid_argument("the mask needs more than " + std::to_string(Bands::kMostBands) +
                                " bands, the most that one may have: use fewer documents, or combine fewer masks");
  }
}

// |A_0 or A_1 or ...| = sum over k of |A_k| - |(A_k & A_0) or ... or (A_k & A_(k-1))|. Bands are closed under `&`, each is counted
// in closed form, and dropping bands inside another keeps the recursion shallow. No band is inside another here.
std::int64_t count_union(const std::vector<Band>& bands) {
  std::int64_t pairs = 0;
  for (std::size_t k = 0; k < bands.size(); ++k) {
    pairs += count_pairs(bands[k]);
    std::vector<Band> counted;
    for (std::size_t earlier = 0; earlier < k; ++earlier) {
      const Band both = bands[k] & bands[earlier];
      if (!both.empty()) counted.push_back(both);
    }
    if (!counted.empty()) pairs -= count_union(without_contained(std::move(counted)));
  }
  return pairs;
}

// Modulus 1: toggle a lane's bit where its interval begins and where it ends; the running XOR over keys is then the set of lanes
// that see the key. In pieces, so that the toggles fit on the stack.
void mark_intervals(const Band& band, std::span<const std::int64_t> lanes, Range seen, Range keys, std::span<std::uint64_t> out) {
  constexpr std::int64_t kPiece = 256;
  for (std::int64_t begin = seen.begin; begin < seen.end; begin += kPiece) {
    const Range piece{begin, std::min(begin + kPiece, seen.end)};
    std::array<std::uint64_t, kPiece + 1> toggles{};
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const Range interval = band.keys_of(lanes[lane]) & piece;
      if (interval.empty()) continue;
      toggles[interval.begin - begin] ^= std::uint64_t{1} << lane;
      toggles[interval.end - begin] ^= std::uint64_t{1} << lane;
    }
    std::uint64_t seeing = 0;
    for (std::int64_t key = 0; key < piece.size(); ++key) {
      seeing ^= toggles[key];
      out[begin - keys.begin + key] |= seeing;
    }
  }
}

void mark_strided(const Band& band, std::span<const std::int64_t> lanes, Range keys, std::span<std::uint64_t> out) {
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    const Diagonals seen = diagonals_of(clipped(band, {lanes[lane], lanes[lane] + 1}, keys));
    for (std::int64_t diagonal = seen.first; diagonal <= seen.last; diagonal += band.modulus) {
      out[lanes[lane] + diagonal - keys.begin] |= std::uint64_t{1} << lane;
    }
  }
}

// The keys that a band's clipped part reaches; empty if it sees none.
Range reach(const Band& part) {
  const Diagonals seen = diagonals_of(part);
  if (seen.empty()) return {};
  return part.keys & Range{part.queries.begin + seen.first, part.queries.end + seen.last};
}

}  // namespace

Bands::Bands(std::vector<Band> bands) {
  for (const Band& band : bands) require_well_formed(band);
  bands_ = without_contained(std::move(bands));
  require_few(bands_.size());
  if (bands_.empty()) return;

  const std::size_t leaves = std::bit_ceil(bands_.size());
  latest_end_.assign(2 * leaves, -kUnbounded);
  for (std::size_t k = 0; k < bands_.size(); ++k) latest_end_[leaves + k] = bands_[k].queries.end;
  for (std::size_t node = leaves - 1; node > 0; --node)
    latest_end_[node] = std::max(latest_end_[2 * node], latest_end_[2 * node + 1]);
}

// Depth first through the tree, leaving out what ends too early. An odd node is a right child: after it, go up to the nearest left
// child and over to its sibling. The first leaf that begins too late ends the search, since bands ascend in queries.begin.
template <class Visit>
void Bands::each_touching(Range queries, Visit&& visit) const {
  if (bands_.empty() || queries.empty()) return;
  const std::size_t leaves = latest_end_.size() / 2;
  for (std::size_t node = 1; node != 0;) {
    if (latest_end_[node] > queries.begin) {
      if (node < leaves) {
        node *= 2;
        continue;
      }
      const Band& band = bands_[node - leaves];
      if (band.queries.begin >= queries.end || !visit(band)) return;
    }
    node >>= std::countr_one(node);
    if (node != 0) ++node;
  }
}

bool Bands::visible(std::int64_t query, std::int64_t key) const {
  bool seen = false;
  each_touching({query, query + 1}, [&](const Band& band) { return !(seen = band.visible(query, key)); });
  return seen;
}

Cover Bands::cover(Range queries, Range keys) const {
  if (queries.empty() || keys.empty()) return Cover::empty;
  const Diagonals corners{keys.begin - (queries.end - 1), keys.end - 1 - queries.begin};
  Cover cover = Cover::empty;
  each_touching(queries, [&](const Band& band) {
    const Band part = clipped(band, queries, keys);
    const Diagonals seen = diagonals_of(part);
    if (seen.empty()) return true;
    const bool every_diagonal =
        seen.first == corners.first && seen.last == corners.last && (band.modulus == 1 || seen.first == seen.last);
    cover = every_diagonal && part.queries == queries && part.keys == keys ? Cover::full : Cover::partial;
    return cover != Cover::full;
  });
  return cover;
}

// n bands cost at most 2^n closed forms, mostly far fewer. Where that may be more than there are rows, the rows are split in two:
// most sets of many bands (documents) fall apart, and in a single row the overlaps of intervals are nested, which leaves n^2.
std::int64_t Bands::count(Range queries, Range keys) const {
  constexpr int kFewBands = 16;
  std::vector<Band> parts;
  each_touching(queries, [&](const Band& band) {
    const Band part = clipped(band, queries, keys);
    if (!part.empty()) parts.push_back(part);
    return true;
  });
  if (parts.size() <= 1) return parts.empty() ? 0 : count_pairs(parts.front());
  parts = without_contained(std::move(parts));
  const std::int64_t rows = queries.size();
  const int few = std::max(kFewBands, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(rows))));
  if (rows == 1 || parts.size() <= static_cast<std::size_t>(few)) return count_union(parts);
  const std::int64_t middle = queries.begin + rows / 2;
  return count({queries.begin, middle}, keys) + count({middle, queries.end}, keys);
}

void Bands::keys_touched(Range queries, Range keys, std::vector<Range>& out) const {
  out.clear();
  each_touching(queries, [&](const Band& band) {
    const Range touched = reach(clipped(band, queries, keys));
    if (!touched.empty()) out.push_back(touched);
    return true;
  });
  std::sort(out.begin(), out.end(), [](Range a, Range b) { return a.begin < b.begin; });
  std::size_t merged = 0;
  for (const Range touched : out) {
    if (merged > 0 && touched.begin <= out[merged - 1].end) {
      out[merged - 1].end = std::max(out[merged - 1].end, touched.end);
    } else {
      out[merged++] = touched;
    }
  }
  out.resize(merged);
}

void Bands::mark(std::span<const std::int64_t> lanes, Range keys, std::span<std::uint64_t> out) const {
  if (lanes.size() > 64) throw std::invalid_argument("a tile has " + std::to_string(lanes.size()) + " lanes: at most 64 fit");
  std::fill_n(out.begin(), keys.size(), std::uint64_t{0});
  Range queries{kNoPosition, -kNoPosition};
  for (const std::int64_t lane : lanes) {
    if (lane == kNoPosition) continue;
    queries = {std::min(queries.begin, lane), std::max(queries.end, lane + 1)};
  }
  each_touching(queries, [&](const Band& band) {
    const Range seen = reach(clipped(band, queries, keys));
    if (band.modulus == 1) {
      mark_intervals(band, lanes, seen, keys, out);
    } else if (!seen.empty()) {
      mark_strided(band, lanes, keys, out);
    }
    return true;
  });
}

Bands operator&(const Bands& a, const Bands& b) {
  std::vector<Band> result;
  for (const Band& left : a.all()) {
    b.each_touching(left.queries, [&](const Band& right) {
      const Band both = left & right;
      if (!both.empty()) result.push_back(both);
      require_few(result.size());
      return true;
    });
  }
  return Bands(std::move(result));
}

Bands operator|(const Bands& a, const Bands& b) {
  std::vector<Band> result(a.bands_);
  result.insert(result.end(), b.bands_.begin(), b.bands_.end());
  return Bands(std::move(result));
}

}  // namespace gyre
