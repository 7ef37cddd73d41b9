// The body of attend: up to four strips of 16 query rows against one unit of keys, for every instruction set.
//
// Query rows lie in vector lanes, so that nothing ever crosses lanes and a row's arithmetic is its own:
//
//   scores   S[key][row] = sum over dims of K[key][dim] (broadcast) * Q[dim][row]
//            with a cap: S = cap tanh(...) at once, in registers
//   weights  P[key][row] = 2^(S - m[row]), in place
//   products U[channel][row] = sum over keys of V[key][channel] (broadcast) * P[key][row]
//
// Keys are taken in panels of 8. A panel that no row sees is left out of all three passes: its weights would be exactly 0, and
// fma(v, 0, u) is u. (The one exception, u = -0, becomes +0 when U is scaled, on either path.) What a panel's invisible rows get is
// 0 times a finite number. So no bit of a row depends on what its neighbours in the block see.
//
// Cost of one unit of n keys, per row: n (head_dim + value_dim) multiply-adds, 5 + about 6 other operations per key for the
// weights, 6 value_dim operations for the merge; with a cap 16 operations more per key, one of them a division.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/merge-inl.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/cpu/weights-inl.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

/// The strips [first, first + Strips) of a tile.
template <class V, int Strips, bool Capped>
class Body {
 public:
  Body(const Tile& tile, int first) : tile_(tile), strips_(tile.strips + first), shift_(first * kStrip) {}

  void run() {
    Vector maximum[kVectors];
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) maximum[v] = V::set1(kMaskedScore);
    score_panels(maximum);
    if (!any_) return;
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) maximum[v] = whole_maximum<V>(maximum[v]);

    Vector sum[kVectors];
    weigh_panels(maximum, sum);

    Merge<V> merge[kVectors];
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) merge[v] = merge_sums<V>(partial(2 * tile_.value_dim, v), maximum[v], sum[v]);
    for (int channel = 0; channel < tile_.value_dim; channel += V::kRows) multiply(channel, merge);
  }

 private:
  using Vector = typename V::Vector;
  static constexpr int kVectors = Strips * kStrip / V::kLanes;  // across the strips
  static constexpr int kAcross = Strips * kStrip;               // floats between one key's scores and the next one's
  static constexpr std::uint64_t kAllLanes = Strips == 4 ? ~std::uint64_t{0} : (std::uint64_t{1} << (16 * Strips % 64)) - 1;
  static constexpr int kTurns = kStrip / V::kKeys;           // groups of keys in a strip of keys
  static constexpr int kScoreWords = kChainDims * V::kPair;  // of a chain
  static constexpr int kChainRows = kChainKeys * V::kPair;   // of words of values and weights
  static constexpr int kPanelsOfChain = kChainRows * V::kPair / kPanel;
  static_assert(Strips <= Tile::kMostStrips && kPanel % V::kKeys == 0 && kChannels % V::kRows == 0 && kPanelsOfChain <= 16);

  GYRE_INLINE const float* in_strip(const float* strip, int row, int v) { return strip + row * kStrip + v * V::kLanes % kStrip; }
  GYRE_INLINE float* in_strip(float* strip, int row, int v) { return strip + row * kStrip + v * V::kLanes % kStrip; }
  [[gnu::always_inline]] inline float* partial(int row, int v) const {
    return in_strip(strips_[v * V::kLanes / kStrip].partial, row, v);
  }

  /// Pass 1: the scores of every panel that some row sees, and each row's largest visible score.
  [[gnu::always_inline]] inline void score_panels(Vector (&maximum)[kVectors]) {
    const int panels = (tile_.keys + kPanel - 1) / kPanel;
    chain_count_ = (panels + kPanelsOfChain - 1) / kPanelsOfChain;
    for (int chain = 0; chain < chain_count_; ++chain) {
      const int first = chain * kPanelsOfChain;
      const int last = first + kPanelsOfChain < panels ? first + kPanelsOfChain : panels;
      unsigned seen = 0;
      for (int panel = first; panel < last; ++panel) seen |= unsigned{score_panel_if_seen(panel, maximum)} << (panel - first);
      seen_[chain] = static_cast<std::uint16_t>(seen);
      any_ |= seen != 0;
    }
  }

  [[gnu::always_inline]] inline bool score_panel_if_seen(int panel, Vector (&maximum)[kVectors]) const {
    std::uint64_t any = kAllLanes;
    std::uint64_t every = kAllLanes;
    if (tile_.visible != nullptr) {
      any = 0;
      for (int i = 0; i < kPanel; ++i) {
        const std::uint64_t word = tile_.visible[panel * kPanel + i] >> shift_;
        any |= word, every &= word;
      }
    }
    if ((any & kAllLanes) == 0) return false;
    if (every == kAllLanes) {
      score_panel<false>(panel, maximum);
    } else {
      score_panel<true>(panel, maximum);
    }
    return true;
  }

  template <bool Masked>
  [[gnu::always_inline]] inline void score_panel(int panel, Vector (&maximum)[kVectors]) const {
    for (int row = panel * kPanel; row < (panel + 1) * kPanel; row += V::kKeys) {
      const float* const key = tile_.key + row / kStrip * kStrip * tile_.words + row % kStrip;
      const float* const next =
          tile_.key + (row / kStrip + 1) * kStrip * tile_.words + row % kStrip / V::kKeys * (tile_.words / kTurns) * kStrip;
      Vector score[V::kKeys][kVectors];
      chain(key, next, 0, tile_.words < kScoreWords ? tile_.words : kScoreWords, score);
      for (int dim = kScoreWords; dim < tile_.words; dim += kScoreWords) {
        Vector more[V::kKeys][kVectors];
        chain(key, next, dim, tile_.words < dim + kScoreWords ? tile_.words : dim + kScoreWords, more);
        GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
          GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::add(score[i][v], more[i][v]);
        }
      }
      if constexpr (V::kPair > 1) times_factor(score);
      if constexpr (Capped) cap(score);
      if constexpr (Masked) mask(tile_.visible + row, score);
      GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
          V::store(tile_.scores + (row + i) * kAcross + v * V::kLanes, score[i][v]);
          maximum[v] = V::max(maximum[v], score[i][v]);
        }
      }
    }
  }

  /// One chain of multiply-adds from zero over dims [begin, end), for kKeys neighbouring keys. Meanwhile the next strip of keys is
  /// fetched, a line for every kTurns dims, so that the strip's kTurns groups of keys fetch all of it: its stride is that of the
  /// cache's lines, and keys that come from memory cost 0.77 of the peak without, 0.91 with.
  [[gnu::always_inline]] inline void chain(const float* key, const float* next, int begin, int end,
                                           Vector (&score)[V::kKeys][kVectors]) const {
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::zero();
    }
    int dim = begin;
    for (; dim + kTurns <= end; dim += kTurns) {
      __builtin_prefetch(next + dim / kTurns * kStrip);
      GYRE_UNROLL for (int i = 0; i < kTurns; ++i) multiply_dim(key, dim + i, score);
    }
    for (; dim < end; ++dim) multiply_dim(key, dim, score);
  }

  [[gnu::always_inline]] inline void multiply_dim(const float* key, int dim, Vector (&score)[V::kKeys][kVectors]) const {
    Vector query[kVectors];
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) query[v] = V::load(in_strip(strips_[v * V::kLanes / kStrip].query, dim, v));
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      const Vector broadcast = V::set1(key[dim * kStrip + i]);
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::multiply(broadcast, query[v], score[i][v]);
    }
  }

  [[gnu::always_inline]] inline void times_factor(Vector (&score)[V::kKeys][kVectors]) const {
    const Vector factor = V::set1(tile_.factor);
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::mul(score[i][v], factor);
    }
  }

  [[gnu::always_inline]] inline void cap(Vector (&score)[V::kKeys][kVectors]) const {
    const Vector cap = V::set1(tile_.cap);
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = capped<V>(score[i][v], cap);
    }
  }

  [[gnu::always_inline]] inline void mask(const std::uint64_t* visible, Vector (&score)[V::kKeys][kVectors]) const {
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
        score[i][v] = V::select(V::lanes(visible[i] >> (shift_ + v * V::kLanes)), score[i][v], V::set1(kMaskedScore));
      }
    }
  }

  /// Pass 2: scores become weights. The score is split into integer and fraction before the maximum is subtracted, so weights of
  /// the same score under different maxima differ by an exact power of two. Words of weights lie at the beginning of the scores:
  /// the word of keys 2k and 2k + 1 at row k, where no score is read any more.
  [[gnu::always_inline]] inline void weigh_panels(const Vector (&maximum)[kVectors], Vector (&sum)[kVectors]) const {
    GYRE_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = V::zero();
    for (int chain = 0; chain < chain_count_; ++chain) {
      for (int panel = 0; panel < kPanelsOfChain; ++panel) {
        if ((seen_[chain] >> panel & 1) == 0) continue;
        const int key = (chain * kPanelsOfChain + panel) * kPanel;
        const float* const scores = tile_.scores + key * kAcross;
        float* const weights = tile_.scores + key / V::kPair * kAcross;
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
          sum[v] = V::add(sum[v], weigh<kPanel>(scores + v * V::kLanes, weights + v * V::kLanes, maximum[v]));
        }
      }
    }
  }

  /// Weights of Count neighbouring keys; returns their sum, added in pairs, before they are rounded to words.
  template <int Count>
  GYRE_INLINE Vector weigh(const float* scores, float* weights, Vector maximum) {
    if constexpr (Count == V::kPair) {
      Vector weight[Count];
      GYRE_UNROLL for (int i = 0; i < Count; ++i) weight[i] = weight_of<V>(V::load(scores + i * kAcross), maximum);
      V::store(weights, V::words(weight));
      if constexpr (Count == 1)
        return weight[0];
      else
        return V::add(weight[0], weight[Count - 1]);
    } else {
      const Vector low = weigh<Count / 2>(scores, weights, maximum);
      return V::add(low, weigh<Count / 2>(scores + Count / 2 * kAcross, weights + Count / 2 / V::kPair * kAcross, maximum));
    }
  }

  /// Pass 3: kRows channels of the unit's products, chains from zero over kChainKeys keys each, folded into the numerator.
  /// A call of its own, so that the factors of the merge stay in memory: in registers beside the chains and their sums they would
  /// push the weights out, and every multiply-add would load its own.
  [[gnu::noinline]] void multiply(int channel, const Merge<V> (&merge)[kVectors]) const {
    const std::int64_t rows = (tile_.keys + kStrip - 1) / kStrip * kStrip / V::kPair;
    const float* value = tile_.value + channel / kChannels * rows * kChannels + channel % kChannels;
    const float* next = value + rows * kChannels + channel % kChannels / V::kRows * kStrip;
    const float* weights = tile_.scores;
    Vector unit[V::kRows][kVectors];
    GYRE_UNROLL for (int i = 0; i < V::kRows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) unit[i][v] = V::zero();
    }
    for (int chain = 0; chain < chain_count_; ++chain) {
      if (seen_[chain] != 0) multiply_chain(seen_[chain], value, next, weights, unit);
      value += kChainRows * kChannels, next += kChainRows * kChannels, weights += kChainRows * kAcross;
    }
    GYRE_UNROLL for (int i = 0; i < V::kRows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
        fold<V>(partial(channel + i, v), partial(tile_.value_dim + channel + i, v), merge[v], unit[i][v]);
      }
    }
  }

  /// Adds the products of those of a chain's panels that some row sees. The next block of channels is fetched meanwhile.
  [[gnu::always_inline]] inline void multiply_chain(unsigned seen, const float* value, const float* next, const float* weights,
                                                    Vector (&unit)[V::kRows][kVectors]) const {
    constexpr unsigned kAllPanels = (1U << kPanelsOfChain) - 1;
    Vector chain[V::kRows][kVectors];
    GYRE_UNROLL for (int i = 0; i < V::kRows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::zero();
    }
    if (seen == kAllPanels) {
      for (int row = 0; row < kChainRows; row += 4) {
        multiply_rows<4>(value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
      }
    } else {
      for (int panel = 0; panel < kPanelsOfChain; ++panel) {
        constexpr int kRows = kPanel / V::kPair;
        const int row = panel * kRows;
        if (seen >> panel & 1) {
          multiply_rows<kRows>(value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
        }
      }
    }
    GYRE_UNROLL for (int i = 0; i < V::kRows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) unit[i][v] = V::add(unit[i][v], chain[i][v]);
    }
  }

  /// A block of channels is gone through kChannels / kRows times; each time fetches its share of the next block's lines.
  template <int Rows>
  [[gnu::always_inline]] inline void multiply_rows(const float* value, const float* next, const float* weights,
                                                   Vector (&chain)[V::kRows][kVectors]) const {
    constexpr int kLines = Rows * kChannels / kStrip;
    constexpr int kPasses = kChannels / V::kRows;
    GYRE_UNROLL for (int line = 0; line < kLines; line += kPasses) __builtin_prefetch(next + line * kStrip);
    GYRE_UNROLL for (int row = 0; row < Rows; ++row) {
      Vector weight[kVectors];
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) weight[v] = V::load(weights + row * kAcross + v * V::kLanes);
      GYRE_UNROLL for (int i = 0; i < V::kRows; ++i) {
        const Vector broadcast = V::set1(value[row * kChannels + i]);
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::multiply(broadcast, weight[v], chain[i][v]);
      }
    }
  }

  const Tile& tile_;
  const Tile::Strip* strips_;
  int shift_;  // of visibility words
  int chain_count_ = 0;
  bool any_ = false;                               // panel that some row sees
  std::uint16_t seen_[kLongestUnit / kChainKeys];  // panels that some row sees, a bit for each of a chain's
};

/// As many strips at a time as the registers hold, in pieces as even as possible.
template <class V, bool Capped>
void attend_strips(const Tile& tile) {
  int first = 0;
  for (int pieces = (tile.strip_count + V::kStrips - 1) / V::kStrips; pieces > 0; --pieces) {
    const int strips = (tile.strip_count - first + pieces - 1) / pieces;
    if constexpr (V::kStrips >= 3) {
      if (strips == 3) Body<V, 3, Capped>(tile, first).run();
    }
    if constexpr (V::kStrips >= 2) {
      if (strips == 2) Body<V, 2, Capped>(tile, first).run();
    }
    if (strips == 1) Body<V, 1, Capped>(tile, first).run();
    first += strips;
  }
}

template <class V>
void attend_tile(const Tile& tile) {
  if (tile.cap == 0) {
    attend_strips<V, false>(tile);
  } else {
    attend_strips<V, true>(tile);
  }
}

}  // namespace
}  // namespace gyre
