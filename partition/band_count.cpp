#include "partition/band_count.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "partition/band_algebra.hpp"
#include "partition/band_tile.hpp"

namespace gyre {
namespace {

// |A_0 or A_1 or ...| = sum over k of |A_k| - |(A_k & A_0) or ... or (A_k & A_(k-1))|. Bands are closed under `&`, each is counted
// in closed form, and dropping bands inside another keeps the recursion shallow. At most 2^bands closed forms.
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

struct Rectangle {
  Range queries{kUnbounded, -kUnbounded}, keys{kUnbounded, -kUnbounded};
};

/// The tightest one that holds all bands, none of which is empty.
Rectangle hull_of(const std::vector<Band>& bands) {
  const auto hull = [](Range a, Range b) { return Range{std::min(a.begin, b.begin), std::max(a.end, b.end)}; };
  Rectangle all;
  for (const Band& band : bands) {
    const Band tight = normal_form(band);
    all = {hull(all.queries, tight.queries), hull(all.keys, tight.keys)};
  }
  return all;
}

/// Whether the band is nothing but diagonals of the rectangle: its own rectangle takes no pair from them.
bool spans(const Band& band, const Rectangle& rectangle) {
  const Diagonals seen = diagonals_of(band);
  const Band uncut = normal_form({rectangle.queries, rectangle.keys, seen.first, seen.last, band.modulus, band.residue});
  return band.queries.contains(uncut.queries) && band.keys.contains(uncut.keys);
}

/// Marks of diagonals, and the pairs on those of a rectangle that are marked.
class MarkedDiagonals {
 public:
  static constexpr std::int64_t kMost = std::int64_t{1} << 20;  // 128 KiB of marks

  explicit MarkedDiagonals(Range diagonals) : diagonals_(diagonals), words_((diagonals.size() + 63) / 64) {}

  void mark(const Band& band) {
    const Diagonals seen = diagonals_of(band);
    const std::int64_t skipped = std::max<std::int64_t>(0, -floor_divide(seen.first - diagonals_.begin, band.modulus));
    const std::int64_t end = std::min(seen.last + 1, diagonals_.end) - diagonals_.begin;
    for (std::int64_t at = seen.first - diagonals_.begin + skipped * band.modulus; at < end; at += band.modulus) {
      words_[at / 64] |= std::uint64_t{1} << at % 64;
    }
  }

  std::int64_t count(const Rectangle& in) const {
    std::int64_t pairs = 0;
    for (std::size_t word = 0; word < words_.size(); ++word) {
      const std::int64_t first = diagonals_.begin + static_cast<std::int64_t>(word) * 64;
      for (std::uint64_t left = words_[word]; left != 0; left &= left - 1) {
        const std::int64_t diagonal = first + std::countr_zero(left);
        pairs += (in.queries & (in.keys + -diagonal)).size();
      }
    }
    return pairs;
  }

 private:
  Range diagonals_;
  std::vector<std::uint64_t> words_;
};

/// Pairs of the union of bands that span the rectangle: diagonal by diagonal, if there are too many to intersect each with each.
std::int64_t count_spanning(std::vector<Band> bands, const Rectangle& rectangle) {
  constexpr double kStepsPerForm = 128;  // marking and counting a diagonal takes 2 ns, intersecting and counting a band 250 ns
  bands = without_contained(std::move(bands));
  Range marked{kUnbounded, -kUnbounded};
  std::int64_t steps = 0;
  for (const Band& band : bands) {
    const Diagonals seen = diagonals_of(band);
    marked = {std::min(marked.begin, seen.first), std::max(marked.end, seen.last + 1)};
    steps += (seen.last - seen.first) / band.modulus + 1;
  }
  steps += marked.size() / 64;  // words that may be zero
  if (std::ldexp(kStepsPerForm, static_cast<int>(bands.size())) <= static_cast<double>(steps)) return count_union(bands);
  std::int64_t pairs = 0;
  for (std::int64_t begin = marked.begin; begin < marked.end; begin += MarkedDiagonals::kMost) {
    MarkedDiagonals diagonals({begin, std::min(begin + MarkedDiagonals::kMost, marked.end)});
    for (const Band& band : bands) diagonals.mark(band);
    pairs += diagonals.count(rectangle);
  }
  return pairs;
}

/// Where a rectangle is cut in two.
struct Cutting {
  Range Band::*side = nullptr;  // none: every band spans the rectangle
  std::int64_t at = 0;
};

/// The middle one of all borders within the rectangle of bands that do not span it, along the side that has more of them. So that
/// documents fall apart in as many steps as their number has bits, and a cut leaves less borders on either side.
Cutting best_cutting(const std::vector<Band>& bands, const Rectangle& rectangle) {
  std::vector<std::int64_t> of_queries, of_keys;
  const auto add = [](std::vector<std::int64_t>& borders, Range own, Range all) {
    if (own.begin > all.begin) borders.push_back(own.begin);
    if (own.end < all.end) borders.push_back(own.end);
  };
  for (const Band& band : bands) {
    if (spans(band, rectangle)) continue;
    add(of_queries, band.queries, rectangle.queries);
    add(of_keys, band.keys, rectangle.keys);
  }
  if (of_queries.empty() && of_keys.empty()) return {};
  const bool queries = of_queries.size() >= of_keys.size();
  std::vector<std::int64_t>& borders = queries ? of_queries : of_keys;
  const auto middle = borders.begin() + std::ssize(borders) / 2;
  std::nth_element(borders.begin(), middle, borders.end());
  return {queries ? &Band::queries : &Band::keys, *middle};
}

// Bands of a rectangle differ in their rectangles, or in their diagonals alone. Few are intersected with each other. Where there
// are many, the rectangle is cut at the borders of theirs until few are left or all span it, and then their diagonals are counted.
std::int64_t count_overlapping(std::vector<Band> bands) {
  constexpr std::size_t kFewBands = 4;
  if (bands.size() <= kFewBands) return count_union(without_contained(std::move(bands)));
  const Rectangle rectangle = hull_of(bands);
  const Cutting cutting = best_cutting(bands, rectangle);
  if (cutting.side == nullptr) return count_spanning(std::move(bands), rectangle);
  const auto count_within = [&](Range part) {
    std::vector<Band> cut;
    for (Band band : bands) {
      band.*cutting.side = band.*cutting.side & part;
      if (!band.empty()) cut.push_back(band);
    }
    return count_strips(cut);
  };
  return count_within({-kUnbounded, cutting.at}) + count_within({cutting.at, kUnbounded});
}

/// A band in a piece of queries that lies in one row of its table: where it reaches, and where every query sees every key (but for
/// tables).
struct Part {
  Band band;
  std::int64_t row = 0;  // of its table of blocks
  Range reached, filled;

  bool tables() const { return band.blocks != nullptr || band.diagonals != nullptr; }
  bool shown(int head, std::int64_t key) const {
    return band.blocks == nullptr || band.blocks->visible(head, row, floor_divide(key, band.blocks->shape().key_tokens));
  }
};

Part part_of(const Band& band, Range queries, std::int64_t first_query) {
  Part part{.band = band, .row = 0, .reached = reach(band), .filled = {}};
  if (band.modulus == 1) part.filled = band.keys_of(queries.begin) & band.keys_of(queries.end - 1);
  if (band.blocks != nullptr) {
    const BlockShape& shape = band.blocks->shape();
    part.row = floor_divide(queries.begin - first_query, shape.query_tokens);
    const bool longer = shape.columns > kUnbounded / shape.key_tokens;  // than any axis
    const Range inside{0, longer ? kUnbounded : shape.columns * shape.key_tokens};
    part.reached = part.reached & inside, part.filled = part.filled & inside;
  }
  return part;
}

/// Keys of an interval that one row of a table of blocks shows.
std::int64_t count_keys(const Part& part, int head, Range keys) {
  const BlockTable& table = *part.band.blocks;
  const std::int64_t block = table.shape().key_tokens;
  const Range columns{floor_divide(keys.begin, block), floor_divide(keys.end - 1, block) + 1};
  std::int64_t count = table.count(head, part.row, columns) * block;
  if (table.visible(head, part.row, columns.begin)) count -= keys.begin - columns.begin * block;
  if (table.visible(head, part.row, columns.end - 1)) count -= columns.end * block - keys.end;
  return count;
}

/// Diagonals i - j of a rectangle, a bit each, with what is before every word: how many, and the sum of their places. So the pairs
/// on them of all queries and a run of keys take four looks, however long the run: with rank(x) the diagonals before x,
///
///   sum over keys j of rank(b - j) - rank(a - j),      sum over y < x of rank(y) = sum over diagonals s < x of x - 1 - s
class RankedDiagonals {
 public:
  RankedDiagonals(Range queries, Range keys)
      : queries_(queries), first_(queries.begin - (keys.end - 1)), words_((queries.size() + keys.size() + 62) / 64) {}

  /// Those of a part, as its bands and its table of diagonals have them.
  void mark(const Band& band, int head) {
    const Range all{first_, first_ + std::ssize(words_) * 64};
    const Range strip = Range{-band.upper, -band.lower + 1} & all;
    if (strip.empty()) return;
    const auto take = [&](Range diagonals) {
      if (band.modulus == 1) return set({diagonals.begin - first_, diagonals.end - first_});
      // i - j = -residue modulo the modulus
      const std::int64_t skipped = (-band.residue - diagonals.begin) % band.modulus;
      for (std::int64_t at = diagonals.begin + skipped + (skipped < 0 ? band.modulus : 0); at < diagonals.end; at += band.modulus)
        set({at - first_, at - first_ + 1});
    };
    if (band.diagonals == nullptr) return take(strip);
    each_run(*band.diagonals, head, 0, Range{-strip.end + 1, -strip.begin + 1}, [&](Range run) {
      if (!run.empty()) take({-run.end + 1, -run.begin + 1});
    });
  }

  void rank() {
    before_.resize(words_.size() + 1);
    for (std::size_t word = 0; word < words_.size(); ++word) before_[word + 1] = with(word, words_[word]);
  }

  std::int64_t count(Range keys) const {
    const auto ranks_below = [&](std::int64_t x) {
      const Before before = below(x);
      return (x - 1) * before.diagonals - before.places;
    };
    const std::int64_t last = queries_.end - first_ + 1, first = queries_.begin - first_ + 1;
    return ranks_below(last - keys.begin) - ranks_below(last - keys.end) - ranks_below(first - keys.begin) +
           ranks_below(first - keys.end);
  }

 private:
  struct Before {
    std::int64_t diagonals = 0, places = 0;
  };

  void set(Range places) {
    for (std::int64_t begin = places.begin; begin < places.end;) {
      const std::int64_t end = std::min(places.end, begin / 64 * 64 + 64);
      words_[begin / 64] |= ~std::uint64_t{0} >> (64 - (end - begin)) << begin % 64;
      begin = end;
    }
  }

  Before with(std::size_t word, std::uint64_t bits) const {
    constexpr std::uint64_t kPlaces[] = {0xaaaaaaaaaaaaaaaa, 0xcccccccccccccccc, 0xf0f0f0f0f0f0f0f0,
                                         0xff00ff00ff00ff00, 0xffff0000ffff0000, 0xffffffff00000000};
    Before sum = before_[word];
    const std::int64_t count = std::popcount(bits);
    sum.diagonals += count, sum.places += count * static_cast<std::int64_t>(word) * 64;
    for (int bit = 0; bit < 6; ++bit) sum.places += std::int64_t{std::popcount(bits & kPlaces[bit])} << bit;
    return sum;
  }

  Before below(std::int64_t x) const {
    const auto word = static_cast<std::size_t>(x) / 64;
    return word >= words_.size() ? before_.back() : with(word, words_[word] & ((std::uint64_t{1} << x % 64) - 1));
  }

  Range queries_;
  std::int64_t first_;
  std::vector<std::uint64_t> words_;
  std::vector<Before> before_;
};

/// The key from which on one of the tables of blocks shows something else than at this one, or may.
std::int64_t next_change(const std::vector<Part>& parts, int head, std::int64_t key) {
  std::int64_t next = kUnbounded;
  for (const Part& part : parts) {
    if (part.band.blocks == nullptr) continue;
    const std::int64_t block = part.band.blocks->shape().key_tokens, column = floor_divide(key, block);
    const std::uint64_t word = part.band.blocks->word(head, part.row, column);
    next = std::min(next, (column + ((word & 1) != 0 ? std::countr_one(word) : std::countr_zero(word))) * block);
  }
  return next;
}

/// Pairs of one head in an interval of keys that each part reaches, run by run of keys that the same tables of blocks show: what is
/// seen there are diagonals.
std::int64_t count_shown(const std::vector<Part>& parts, Range queries, int head, Range keys) {
  std::map<std::vector<bool>, RankedDiagonals> of_shown;
  std::vector<bool> shown(parts.size());
  std::int64_t pairs = 0;
  for (std::int64_t begin = keys.begin, end = 0; begin < keys.end; begin = end) {
    end = std::min(keys.end, next_change(parts, head, begin));
    for (std::size_t part = 0; part < parts.size(); ++part) shown[part] = parts[part].shown(head, begin);
    const auto [found, is_new] = of_shown.try_emplace(shown, queries, keys);
    if (is_new) {
      for (std::size_t part = 0; part < parts.size(); ++part) {
        if (shown[part]) found->second.mark(parts[part].band, head);
      }
      found->second.rank();
    }
    pairs += found->second.count({begin, end});
  }
  return pairs;
}

std::int64_t count_interval(const std::vector<Part>& all, Range queries, Range keys, int heads) {
  std::vector<Part> parts;
  std::vector<Band> bands;
  bool tables = false;
  for (const Part& part : all) {
    if (!part.reached.contains(keys)) continue;
    const bool filled = part.filled.contains(keys);
    if (filled && !part.tables()) return queries.size() * keys.size() * heads;
    parts.push_back(part);
    bands.push_back(clipped(part.band, queries, keys));
    tables = tables || part.tables();
  }
  if (parts.empty()) return 0;
  if (!tables) return count_strips(bands) * heads;
  const bool by_bits = parts.size() == 1 && parts[0].band.diagonals == nullptr && parts[0].filled.contains(keys);
  constexpr std::int64_t kMostTogether = std::int64_t{1} << 20;  // keys; their diagonals are bits in memory
  std::int64_t pairs = 0;
  for (int head = 0; head < heads; ++head) {
    if (by_bits) {
      pairs += count_keys(parts[0], head, keys) * queries.size();
      continue;
    }
    for (std::int64_t begin = keys.begin; begin < keys.end; begin += kMostTogether) {
      pairs += count_shown(parts, queries, head, {begin, std::min(begin + kMostTogether, keys.end)});
    }
  }
  return pairs;
}

}  // namespace

// Bands that share no query add up (documents); the others are counted group by group.
std::int64_t count_strips(std::span<const Band> bands) {
  std::int64_t pairs = 0;
  for (auto begin = bands.begin(), end = begin; begin != bands.end(); begin = end) {
    std::int64_t latest = begin->queries.end;
    for (++end; end != bands.end() && end->queries.begin < latest; ++end) latest = std::max(latest, end->queries.end);
    pairs += end - begin == 1 ? count_pairs(*begin) : count_overlapping({begin, end});
  }
  return pairs;
}

// Between two borders where a band begins or ends to reach, or to see everything, nothing changes but the tables.
std::int64_t count_row_of_blocks(const std::vector<Band>& bands, Range queries, std::int64_t first_query, int heads) {
  if (std::none_of(bands.begin(), bands.end(),
                   [](const Band& band) { return band.blocks != nullptr || band.diagonals != nullptr; })) {
    return count_strips(bands) * heads;
  }
  std::vector<Part> parts;
  std::vector<std::int64_t> borders;
  for (const Band& band : bands) {
    const Part part = part_of(band, queries, first_query);
    if (part.reached.empty()) continue;
    borders.insert(borders.end(), {part.reached.begin, part.reached.end});
    if (!part.filled.empty()) borders.insert(borders.end(), {part.filled.begin, part.filled.end});
    parts.push_back(part);
  }
  std::sort(borders.begin(), borders.end());
  std::int64_t pairs = 0;
  for (std::size_t k = 1; k < borders.size(); ++k) {
    if (borders[k - 1] < borders[k]) pairs += count_interval(parts, queries, {borders[k - 1], borders[k]}, heads);
  }
  return pairs;
}

}  // namespace gyre
