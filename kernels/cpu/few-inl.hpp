// The body of attend for few query rows, as in decoding: up to kMostFewRows rows of one strip against one unit of keys.
//
// With queries in lanes a single row would waste 15 of 16. Here keys lie in lanes for scores and weights, value channels for
// products:
//
//   scores   S[row][key] = sum over words of Q[word][row] (broadcast) * K[word][key]
//   products U[row][channel] = sum over keys of P[row][key] (broadcast) * V[key][channel]
//
// Every sum is added up in the order of attend-inl.hpp, so that a row has the same bits on either path, whoever sits in its block.
//
// Each key and value is read from memory once, and loaded once for up to kBlockRows rows. With AVX-512 a block of scores is 8 rows
// by 2 strips of keys, one of products 8 rows by 4 blocks of channels: 16 multiply-adds for 10 (12) loads, one of each a cycle, and
// 16 chains where a latency of 6 cycles wants 6. The work of a line of keys or values is then a cycle for every row.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/ahead-inl.hpp"
#include "kernels/cpu/merge-inl.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/cpu/weights-inl.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

template <class V, bool Capped>
class Few {
 public:
  explicit Few(const Tile& tile)
      : tile_(tile),
        strips_((tile.keys + kStrip - 1) / kStrip),
        order_{.key = tile.key,
               .key_floats = std::int64_t{strips_} * kStrip * tile.words,
               .value = tile.value,
               .next = tile.next_key != nullptr ? tile.next_key : tile.key,
               .block = std::int64_t{strips_} * kStripRows * kChannels,
               .piece = kPieceRows * kChannels,
               .blocks = tile.value_dim / kChannels,
               .side_by_side = kBlocks},
        ahead_(order_) {}

  void run() {
    find_seen();
    for (int row = 0; row < kStrip; ++row) maximum_[row] = sum_[row] = 0;
    if (any_) {
      ahead_.skip(kAhead);
      score();
      by_rows([&](auto rows, int first) { find_maxima<rows>(first); });
      multiply();
    }
    for (int row = 0; row < kStrip; ++row) {
      tile_.sums[row] = any_ && row < tile_.few_rows ? maximum_[row] : kEmptyMaximum;
      tile_.sums[kStrip + row] = sum_[row];
    }
  }

 private:
  using Vector = typename V::Vector;
  typedef float Four __attribute__((vector_size(16)));
  static constexpr int kVectors = kStrip / V::kLanes;   // of a strip of keys
  static constexpr int kStripRows = kStrip / V::kPair;  // rows of words of a strip's values and weights
  static constexpr int kPanelRows = kPanel / V::kPair;
  static constexpr int kChainRows = chain_rows<V>();
  static constexpr int kRowsTogether = 16;  // of values, unrolled
  static constexpr int kPieceRows = 64;     // of a block of channels, that are fetched before the next block's
  static constexpr int kChainStrips = kChainRows / kStripRows;
  static constexpr int kBlockRows = V::kLanes / 2 < 8 ? V::kLanes / 2 : 8;  // of queries
  static constexpr int kBlockStrips = V::kLanes == kStrip ? 2 : 1;          // of scores
  static constexpr int kBlocks = V::kLanes == kStrip ? 4 : V::kLanes / 4;   // of channels, of products
  static_assert(kChainRows % kRowsTogether == 0 && kRowsTogether % kStripRows == 0);
  static_assert(V::kPair == 1 || kVectors == 1);

  /// Vectors of so many blocks of channels.
  template <int Blocks>
  static constexpr int across() {
    return V::kLanes > kChannels ? (Blocks + 1) / 2 : Blocks * kChannels / V::kLanes;
  }

  static constexpr int kHalfRows = kBlockRows < 4 ? kBlockRows : 4;

  template <int Value>
  struct Count {
    constexpr operator int() const { return Value; }
  };

  /// Rows in blocks: what is left of them, rounded up to a power of two. Rows past the end are zeros, and never read again.
  template <class Do>
  GYRE_INLINE_MEMBER void by_rows(Do&& run) const {
    for (int first = 0; first < tile_.few_rows;) {
      const int left = tile_.few_rows - first;
      if (kBlockRows >= 8 && left > 4) {
        run(Count<kBlockRows>{}, first), first += kBlockRows;
      } else if (kBlockRows >= 4 && left > 2) {
        run(Count<kHalfRows>{}, first), first += kHalfRows;
      } else if (left > 1) {
        run(Count<2>{}, first), first += 2;
      } else {
        run(Count<1>{}, first), first += 1;
      }
    }
  }

  /// Scores [strip][Rows][16] of the block of rows that begins with this one; then, in place, weights [strip][Rows][words].
  float* scores(int first) const { return tile_.scores + first * strips_ * kStrip; }

  void find_seen() {
    const std::uint64_t rows = (std::uint64_t{1} << tile_.few_rows) - 1;
    for (int strip = 0; strip < strips_; ++strip) {
      std::uint64_t every = rows, some[kStrip / kPanel];
      for (int panel = 0; panel < kStrip / kPanel; ++panel) {
        some[panel] = tile_.visible == nullptr ? rows : 0;
        for (int i = 0; tile_.visible != nullptr && i < kPanel; ++i) {
          const std::uint64_t seen = tile_.visible[strip * kStrip + panel * kPanel + i];
          some[panel] |= seen & rows, every &= seen;
        }
        seen_[strip * kStrip / kPanel + panel] = some[panel] != 0;
      }
      sight_[strip] = every == rows ? Sight::every : (some[0] | some[1]) != 0 ? Sight::some : Sight::none;
      any_ |= sight_[strip] != Sight::none;
    }
  }

  void score() {
    int strip = 0;
    for (; strip + kBlockStrips <= strips_; strip += kBlockStrips) score_block<kBlockStrips>(strip);
    for (; strip < strips_; ++strip) score_block<1>(strip);
  }

  template <int Strips>
  void score_block(int strip) {
    bool seen = false;
    for (int s = 0; s < Strips; ++s) seen |= sight_[strip + s] != Sight::none;
    if (!seen) return ahead_.skip(std::int64_t{Strips} * kStrip * tile_.words);
    by_rows([&](auto rows, int first) {
      if (first == 0) {
        score_rows<rows, Strips, true>(strip, first);
      } else {
        score_rows<rows, Strips, false>(strip, first);
      }
    });
  }

  /// Chains from zero, added up in order, as Body::score_panel has them.
  template <int Rows, int Strips, bool Fetches>
  [[gnu::noinline]] void score_rows(int strip, int first) {
    constexpr int kWords = 16;  // unrolled, so that no loop is so long that its end comes unexpected
    const std::int64_t stride = kStrip * tile_.words;
    const float* key = tile_.key + strip * stride;
    const float* query = tile_.strips[0].query + first;
    float* const place = scores(first) + strip * Rows * kStrip;
    for (int begin = 0; begin < tile_.words; begin += score_words<V>()) {
      const int end = tile_.words < begin + score_words<V>() ? tile_.words : begin + score_words<V>();
      Vector chain[Rows][Strips * kVectors];
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) chain[i][v] = V::zero();
      }
      int word = begin;
      for (; word + kWords <= end; word += kWords, key += kWords * kStrip, query += kWords * kStrip) {
        multiply_words<kWords, Rows, Strips, Fetches>(key, stride, query, chain);
      }
      for (; word < end; ++word, key += kStrip, query += kStrip) {
        multiply_words<1, Rows, Strips, Fetches>(key, stride, query, chain);
      }
      if (begin > 0) add_scores<Rows, Strips>(place, chain);
      if (end == tile_.words) finish_scores<Rows, Strips>(chain);
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) V::store(place_of<Rows>(place, i, v), chain[i][v]);
      }
    }
    for (int s = 0; s < Strips; ++s) {
      if (tile_.bias_slopes != nullptr) bias_scores<Rows>(strip + s, first, place + s * Rows * kStrip);
      if (sight_[strip + s] != Sight::every) mask_scores<Rows>(strip + s, first, place + s * Rows * kStrip);
    }
  }

  template <int Rows>
  GYRE_INLINE float* place_of(float* scores, int row, int v) {
    return scores + (v / kVectors * Rows + row) * kStrip + v % kVectors * V::kLanes;
  }

  template <int Words, int Rows, int Strips, bool Fetches>
  GYRE_INLINE_MEMBER void multiply_words(const float* key, std::int64_t stride, const float* query,
                                         Vector (&chain)[Rows][Strips * kVectors]) {
    const float* const ahead = Fetches ? ahead_.take(Words * Strips) : nullptr;
    GYRE_UNROLL for (int word = 0; word < Words; ++word) {
      Vector keys[Strips * kVectors];
      GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) {
        if (Fetches && v % kVectors == 0) Ahead::fetch(ahead, word * Strips + v / kVectors);
        keys[v] = V::load(key + word * kStrip + v / kVectors * stride + v % kVectors * V::kLanes);
      }
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        const Vector broadcast = V::set1(query[word * kStrip + i]);
        GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) chain[i][v] = V::multiply(keys[v], broadcast, chain[i][v]);
      }
    }
  }

  template <int Rows, int Strips>
  GYRE_INLINE void add_scores(float* place, Vector (&chain)[Rows][Strips * kVectors]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) chain[i][v] =
          V::add(V::load(place_of<Rows>(place, i, v)), chain[i][v]);
    }
  }

  template <int Rows, int Strips>
  GYRE_INLINE_MEMBER void finish_scores(Vector (&score)[Rows][Strips * kVectors]) const {
    const Vector factor = V::set1(tile_.factor), cap = V::set1(tile_.cap);
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Strips * kVectors; ++v) {
        if constexpr (V::kPair > 1) score[i][v] = V::mul(score[i][v], factor);
        if constexpr (Capped) score[i][v] = capped<V>(score[i][v], cap);
      }
    }
  }

  /// Scores that lie in their place already.
  template <int Rows>
  [[gnu::noinline]] void bias_scores(int strip, int first, float* place) const {
    alignas(kAlignment) static const float kKeys[kStrip] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int v = 0; v < kVectors; ++v) {
      const Vector keys = V::add(V::set1(static_cast<float>(strip * kStrip)), V::load(kKeys + v * V::kLanes));
      for (int i = 0; i < Rows; ++i) {
        float* const at = place_of<Rows>(place, i, v);
        const Vector distance = V::sub(V::set1(tile_.distances[first + i]), keys);
        V::store(at, biased<V>(V::load(at), V::set1(tile_.bias_slopes[first + i]), distance));
      }
    }
  }

  /// Likewise.
  template <int Rows>
  [[gnu::noinline]] void mask_scores(int strip, int first, float* place) const {
    for (int i = 0; i < Rows; ++i) {
      for (int v = 0; v < kVectors; ++v) {
        std::uint64_t keys = 0;
        const std::uint64_t* const visible = tile_.visible + strip * kStrip + v * V::kLanes;
        for (int key = 0; key < V::kLanes; ++key) keys |= (visible[key] >> (first + i) & 1) << key;
        float* const at = place_of<Rows>(place, i, v);
        V::store(at, V::select(V::lanes(keys), V::load(at), V::set1(kMaskedScore)));
      }
    }
  }

  /// A pass of its own: maxima kept in memory from block to block of scores hold up the multiply-adds behind them (scores took 1.2
  /// of their time), and there are no registers for them.
  template <int Rows>
  [[gnu::noinline]] void find_maxima(int first) {
    Vector maximum[Rows];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) maximum[i] = V::set1(kMaskedScore);
    for (int strip = 0; strip < strips_; ++strip) {
      if (sight_[strip] == Sight::none) continue;
      float* const place = scores(first) + strip * Rows * kStrip;
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) maximum[i] = V::max(maximum[i], V::load(place_of<Rows>(place, i, v)));
      }
    }
    for (int i = 0; i < Rows; ++i) maximum_[first + i] = largest_of(maximum[i]);
  }

  static float largest_of(Vector maximum) {
    alignas(kAlignment) float lanes[V::kLanes];
    V::store(lanes, whole_maximum<V>(maximum));
    float largest = lanes[0];
    for (int i = 1; i < V::kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
  }

  /// Products of some blocks of channels at a time. A chain's weights are made when the first of them want them, so that what is
  /// fetched meanwhile, kAhead at most, comes while something is computed.
  void multiply() {
    int block = 0;
    for (; block + kBlocks <= order_.blocks; block += kBlocks) multiply_blocks<kBlocks>(block);
    if constexpr (kBlocks > 2) {
      for (; block + 2 <= order_.blocks; block += 2) multiply_blocks<2>(block);
    }
    for (; block < order_.blocks; ++block) multiply_blocks<1>(block);
  }

  template <int Blocks>
  void multiply_blocks(int block) {
    bool begun = false;
    for (int strip = 0; strip < strips_; strip += kChainStrips) {
      const int end = strip + kChainStrips < strips_ ? strip + kChainStrips : strips_;
      bool seen = false;
      for (int s = strip; s < end; ++s) seen |= sight_[s] != Sight::none;
      if (!seen) {
        ahead_.skip(std::int64_t{end - strip} * kStripRows * kChannels * Blocks);
        continue;
      }
      by_rows([&](auto rows, int first) {
        if (block == 0)
          tile_.dropout.first == nullptr ? weigh<rows, false>(strip, end, first) : weigh<rows, true>(strip, end, first);
        if (first == 0) {
          multiply_chain<rows, Blocks, true>(block, strip, end, first, begun);
        } else {
          multiply_chain<rows, Blocks, false>(block, strip, end, first, begun);
        }
      });
      begun = true;
    }
  }

  /// Scores become weights, words of what dropout leaves of them in place; their sums are added up in pairs within a panel, panel
  /// by panel.
  template <int Rows, bool Drops>
  [[gnu::noinline]] void weigh(int begin, int end, int first) {
    constexpr int kFours = (Rows + 3) / 4;
    Four sum[kFours] = {};
    for (int i = 0; i < Rows; ++i) sum[i / 4][i % 4] = sum_[first + i];
    for (int strip = begin; strip < end; ++strip) {
      if (sight_[strip] == Sight::none) continue;
      const float* const from = scores(first) + strip * Rows * kStrip;
      float* const words = scores(first) + strip * Rows * kStripRows;
      alignas(kAlignment) float fours[kFours][kStrip];  // of four keys each, for four rows
      for (int v = 0; v < kVectors; ++v) {
        Vector weight[Rows];
        GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
          weight[i] = weight_of<V>(V::load(from + i * kStrip + v * V::kLanes), V::set1(maximum_[first + i]));
        }
        GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
          Vector left = weight[i];
          if constexpr (Drops) left = V::mul(left, kept_keys(first + i, strip * kStrip + v * V::kLanes));
          V::store_words(words + i * kStripRows + v * V::kLanes, left);
        }
        GYRE_UNROLL for (int f = 0; f < kFours; ++f) V::store(fours[f] + v * V::kLanes, sums_of_four<Rows>(weight, 4 * f));
      }
      GYRE_UNROLL for (int f = 0; f < kFours; ++f) {
        const auto* const four = reinterpret_cast<const Four*>(fours[f]);
        sum[f] += four[0] + four[1];
        sum[f] += four[2] + four[3];
      }
    }
    for (int i = 0; i < Rows; ++i) sum_[first + i] = sum[i / 4][i % 4];
  }

  /// What a row's weights from this key on are multiplied by.
  GYRE_INLINE_MEMBER Vector kept_keys(int row, int first_key) const {
    alignas(kAlignment) static const std::uint32_t kSteps[kStrip] = {0,
                                                                     kKeyStep,
                                                                     2 * kKeyStep,
                                                                     3 * kKeyStep,
                                                                     4 * kKeyStep,
                                                                     5 * kKeyStep,
                                                                     6 * kKeyStep,
                                                                     7 * kKeyStep,
                                                                     8 * kKeyStep,
                                                                     9 * kKeyStep,
                                                                     10 * kKeyStep,
                                                                     11 * kKeyStep,
                                                                     12 * kKeyStep,
                                                                     13 * kKeyStep,
                                                                     14 * kKeyStep,
                                                                     15 * kKeyStep};
    const DropoutTerms& dropout = tile_.dropout;
    const std::uint32_t begin = dropout.key + static_cast<std::uint32_t>(first_key) * kKeyStep;
    return kept<V>(V::integer(dropout.first[row]), V::integer(dropout.second[row]),
                   V::add_integers(V::integer(begin), V::load_integers(kSteps)), dropout);
  }

  /// Of four rows beginning with this one: the sums of four keys each, in lanes [keys / 4][row].
  template <int Rows>
  GYRE_INLINE Vector sums_of_four(const Vector (&weight)[Rows], int row) {
    Vector half[2];
    GYRE_UNROLL for (int h = 0; h < 2; ++h) {
      const Vector a = weight[row + 2 * h < Rows ? row + 2 * h : 0], b = weight[row + 2 * h + 1 < Rows ? row + 2 * h + 1 : 0];
      half[h] = V::add(V::evens(a, b), V::odds(a, b));
    }
    return V::add(V::evens(half[0], half[1]), V::odds(half[0], half[1]));
  }

  /// The products of a block of rows with one chain of keys and some blocks of channels.
  template <int Rows, int Blocks, bool Fetches>
  [[gnu::noinline]] void multiply_chain(int block, int begin, int end, int first, bool begun) {
    constexpr int kAcross = across<Blocks>();
    const float* value = tile_.value + block * order_.block + begin * kStripRows * kChannels;
    const float* weights = scores(first) + begin * Rows * kStripRows;
    Vector chain[Rows][kAcross];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) chain[i][a] = V::zero();
    }
    constexpr int kStrips = kRowsTogether / kStripRows;
    int strip = begin;
    for (; strip + kStrips <= end; strip += kStrips, value += kRowsTogether * kChannels, weights += kRowsTogether * Rows) {
      if (!all_seen<kStrips>(strip)) {
        for (int s = 0; s < kStrips; ++s) {
          multiply_strip<Rows, Blocks>(strip + s, value + s * kStripRows * kChannels, weights + s * kStripRows * Rows, chain);
        }
        if (Fetches) ahead_.skip(kRowsTogether * kChannels * Blocks);
        continue;
      }
      const float* const ahead = Fetches ? ahead_.take(kRowsTogether / 2 * Blocks) : nullptr;
      GYRE_UNROLL for (int row = 0; row < kRowsTogether; ++row) {
        if (Fetches && row % 2 == 0) {
          GYRE_UNROLL for (int b = 0; b < Blocks; ++b) Ahead::fetch(ahead, row / 2 * Blocks + b);
        }
        multiply_row<Rows, Blocks>(value + row * kChannels, weights + row / kStripRows * kStripRows * Rows + row % kStripRows,
                                   chain);
      }
    }
    for (; strip < end; ++strip, value += kStripRows * kChannels, weights += kStripRows * Rows) {
      multiply_strip<Rows, Blocks>(strip, value, weights, chain);
    }
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      float* const sums = tile_.sums + kFewStatistics + (first + i) * few_stride(tile_.value_dim) + block * kChannels;
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) {
        V::store(sums + a * V::kLanes, begun ? V::add(V::load(sums + a * V::kLanes), chain[i][a]) : chain[i][a]);
      }
    }
  }

  template <int Strips>
  bool all_seen(int strip) const {
    bool all = true;
    for (int panel = 0; panel < Strips * kStrip / kPanel; ++panel) all &= seen_[strip * kStrip / kPanel + panel];
    return all;
  }

  /// Those panels of a strip of keys that some row sees.
  template <int Rows, int Blocks>
  GYRE_INLINE_MEMBER void multiply_strip(int strip, const float* value, const float* weights,
                                         Vector (&chain)[Rows][across<Blocks>()]) const {
    for (int row = 0; row < kStripRows; ++row) {
      if (!seen_[strip * kStrip / kPanel + row / kPanelRows]) continue;
      multiply_row<Rows, Blocks>(value + row * kChannels, weights + row, chain);
    }
  }

  template <int Rows, int Blocks>
  GYRE_INLINE_MEMBER void multiply_row(const float* value, const float* weights, Vector (&chain)[Rows][across<Blocks>()]) const {
    constexpr int kAcross = across<Blocks>();
    Vector values[kAcross];
    GYRE_UNROLL for (int a = 0; a < kAcross; ++a) values[a] = values_of<Blocks>(value, a);
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      const Vector weight = V::set1(weights[i * kStripRows]);
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) chain[i][a] = V::multiply(values[a], weight, chain[i][a]);
    }
  }

  /// A vector of a row of values. Where it holds two blocks of channels and there is one, it has that twice.
  template <int Blocks>
  GYRE_INLINE_MEMBER Vector values_of(const float* row, int a) const {
    if constexpr (V::kLanes > kChannels) {
      return V::halves(row + 2 * a * order_.block, row + (2 * a + 1 < Blocks ? 2 * a + 1 : 2 * a) * order_.block);
    } else {
      constexpr int kPieces = kChannels / V::kLanes;
      return V::load(row + a / kPieces * order_.block + a % kPieces * V::kLanes);
    }
  }

  static constexpr std::int64_t kAhead = 4096;  // floats; 16 kB

  enum class Sight : std::uint8_t { none, some, every };

  const Tile& tile_;
  int strips_;  // of keys
  FetchOrder order_;
  Ahead ahead_;
  bool any_ = false;
  Sight sight_[kLongestUnit / kStrip];  // of a strip of keys, by the rows
  bool seen_[kLongestUnit / kPanel];
  alignas(kAlignment) float maximum_[kStrip], sum_[kStrip];
};

template <class V>
void attend_few(const Tile& tile) {
  if (tile.cap == 0) {
    Few<V, false>(tile).run();
  } else {
    Few<V, true>(tile).run();
  }
}

/// As attend-inl.hpp folds a unit into a partial, number by number.
template <class V>
void fold_few(int rows, int value_dim, const float* sums, float* total) {
  alignas(kAlignment) float keep[kStrip], take[kStrip];
  for (int v = 0; v < kStrip; v += V::kLanes) {
    const Merge<V> merge = merge_sums<V>(total + v, V::load(sums + v), V::load(sums + kStrip + v));
    V::store(keep + v, merge.keep), V::store(take + v, merge.take);
  }
  const int stride = few_stride(value_dim);
  for (int row = 0; row < rows; ++row) {
    if (!(sums[row] > kEmptyMaximum)) continue;
    const Merge<V> merge{.seen = {}, .keep = V::set1(keep[row]), .take = V::set1(take[row])};
    const float* const unit = sums + kFewStatistics + row * stride;
    float* const numerator = total + kFewStatistics + 2 * row * stride;
    for (int c = 0; c < value_dim; c += V::kLanes) {
      fold<V, true>(numerator + c, numerator + stride + c, merge, V::load(unit + c));
    }
  }
}

}  // namespace
}  // namespace gyre
