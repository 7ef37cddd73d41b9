// The body of attend: up to four strips of 16 query rows against one unit of keys, for every instruction set.
//
// Query rows lie in vector lanes, so that nothing ever crosses lanes and a row's arithmetic is its own:
//
//   scores   S[key][row] = sum over dims of K[key][dim] (broadcast) * Q[dim][row]
//            with a cap: S = cap tanh(...) at once, in registers; so is a bias added
//   weights  P[key][row] = 2^(S - m[row]), in place; what dropout leaves of it, when its sum is taken
//   products U[channel][row] = sum over keys of V[key][channel] (broadcast) * P[key][row]
//
// Keys are taken in panels of 8. A panel that no row sees is left out of all three passes: its weights would be exactly 0, and
// fma(v, 0, u) is u. (The one exception, u = -0, becomes +0 when U is scaled, on either path.) What a panel's invisible rows get is
// 0 times a finite number. So no bit of a row depends on what its neighbours in the block see. Where the vectors of a block see
// different panels, as on a diagonal, each takes its own: 16 rows leave out what 48 could not.
//
// Cost of one unit of n keys, per row: n (head_dim + value_dim) multiply-adds, 5 + about 6 other operations per key for the
// weights, 6 value_dim operations for the merge; with a cap 16 operations more per key, one of them a division; with a bias 3 more.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/merge-inl.hpp"
#include "kernels/cpu/panels-inl.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/cpu/weights-inl.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

/// The vectors [first, first + Vectors) of a tile's rows.
template <class V, int Vectors, bool Capped>
class Body {
 public:
  Body(const Tile& tile, int first) : tile_(tile), shift_(first * V::kLanes), panels_(tile, shift_) {
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
      const Tile::Strip& strip = tile.strips[(first + v) * V::kLanes / kStrip];
      const int lane = (first + v) * V::kLanes % kStrip;
      query_[v] = strip.query + lane, partial_[v] = strip.partial + lane;
    }
  }

  void run() {
    if (!panels_.any) return;
    Vector maximum[Vectors], sum[Vectors];
    if (tile_.bias_slopes == nullptr) {
      score_panels<false>(maximum);
    } else {
      score_biased_panels(maximum);
    }
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) maximum[v] = whole_maximum<V>(maximum[v]);
    if (tile_.dropout.first == nullptr) {
      weigh_panels<false>(maximum, sum);
    } else {
      weigh_and_drop_panels(maximum, sum);
    }
    Merge<V> merge[Vectors];
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
      merge[v] = merge_sums<V>(partial_[v] + 2 * tile_.value_dim * kStrip, maximum[v], sum[v]);
    }
    if (panels_.alike) {
      for (int channel = 0; channel < tile_.value_dim; channel += V::kRows) multiply<Vectors, V::kRows>(channel, 0, merge);
      return;
    }
    if constexpr (V::kPair > 1) {
      for (int channel = 0; channel < tile_.value_dim; channel += V::kRows) multiply_unlike(channel, merge);
      return;
    }
    for (int v = 0; v < Vectors; ++v) {
      if (!panels_.any_of(v)) continue;
      for (int channel = 0; channel < tile_.value_dim; channel += kChannels) multiply<1, kChannels>(channel, v, merge);
    }
  }

 private:
  using Vector = typename V::Vector;
  static constexpr int kAcross = Vectors * V::kLanes;  // floats between one key's scores and the next one's
  static constexpr int kScoreWords = score_words<V>();
  static constexpr int kChainRows = chain_rows<V>();  // of words of values and weights
  static constexpr int kPanelRows = kPanel / V::kPair;
  static constexpr int kPanelsOfChain = panels_of_chain<V>();
  static_assert(kPanel % V::kKeys == 0 && kChannels % V::kRows == 0);
  static_assert(kWindowKeys % (kChainRows * V::kPair) == 0);

  [[gnu::noinline]] void score_biased_panels(Vector (&maximum)[Vectors]) const { score_panels<true>(maximum); }

  /// Pass 1: the scores of every panel that some row sees, and each row's largest visible score.
  template <bool Biased>
  [[gnu::always_inline]] inline void score_panels(Vector (&maximum)[Vectors]) const {
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) maximum[v] = V::set1(kMaskedScore);
    for (int panel = 0; panel < panels_.chain_count * kPanelsOfChain; ++panel) {
      bool all = true;
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) all &= panels_.sees(v, panel);
      if (!all) {
        GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
          if (panels_.sees(v, panel)) maximum[v] = score_alone<Biased>(panel, v, maximum[v]);
        }
      } else if (panels_.all_see_whole(panel)) {
        score_panel<Vectors, false, Biased>(panel, 0, maximum);
      } else {
        score_panel<Vectors, true, Biased>(panel, 0, maximum);
      }
    }
  }

  /// A call of its own, lest the maxima be kept in memory for its sake.
  template <bool Biased>
  [[gnu::noinline]] Vector score_alone(int panel, int v, Vector maximum) const {
    Vector one[1] = {maximum};
    score_panel<1, true, Biased>(panel, v, one);
    return one[0];
  }

  /// By Count vectors from `first` on. A register block is kPanel keys high where it is one vector wide.
  template <int Count, bool Masked, bool Biased>
  [[gnu::always_inline]] inline void score_panel(int panel, int first, Vector (&maximum)[Count]) const {
    constexpr int kKeys = Count == 1 ? kPanel : V::kKeys;
    constexpr int kTurns = kStrip / kKeys;  // groups of keys in a strip of keys
    for (int row = panel * kPanel; row < (panel + 1) * kPanel; row += kKeys) {
      const float* const key = tile_.key + row / kStrip * kStrip * tile_.words + row % kStrip;
      const float* const next =
          tile_.key + (row / kStrip + 1) * kStrip * tile_.words + row % kStrip / kKeys * (tile_.words / kTurns) * kStrip;
      if constexpr (kKeys * Count + 2 * Count + 1 > V::kRegisters) keep_in_memory(maximum);
      Vector score[kKeys][Count];
      if constexpr (kKeys * Count + Count + 1 >= V::kRegisters) {
        chains_apart(key, next, row, first, score);
      } else {
        chains(key, next, first, score);
      }
      if constexpr (V::kPair > 1) times_factor(score);
      if constexpr (Capped) cap(score);
      if constexpr (Biased) bias(row, first, score);
      if constexpr (Masked) mask(tile_.visible + row, first, score);
      GYRE_UNROLL for (int i = 0; i < kKeys; ++i) {
        GYRE_UNROLL for (int v = 0; v < Count; ++v) {
          V::store(tile_.scores + (row + i) * kAcross + (first + v) * V::kLanes, score[i][v]);
          maximum[v] = V::max(maximum[v], score[i][v]);
        }
      }
    }
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void chains(const float* key, const float* next, int first, Vector (&score)[Keys][Count]) const {
    chain(key, next, first, 0, end_of_chain(0), score);
    for (int dim = kScoreWords; dim < tile_.words; dim += kScoreWords) {
      Vector more[Keys][Count];
      chain(key, next, first, dim, end_of_chain(dim), more);
      add_chain(more, score);
    }
  }

  /// Where the register block takes all registers, each chain is a call of its own that adds to the scores in memory: beside
  /// anything else the compiler keeps its sums there (AVX2: a tile of 512 keys, d=64, 0.82 -> 0.84 of the peak).
  template <int Keys, int Count>
  [[gnu::always_inline]] inline void chains_apart(const float* key, const float* next, int row, int first,
                                                  Vector (&score)[Keys][Count]) const {
    float* const scores = tile_.scores + row * kAcross + first * V::kLanes;
    chain_apart<Keys, Count, false>(key, next, first, 0, scores);
    for (int dim = kScoreWords; dim < tile_.words; dim += kScoreWords) {
      chain_apart<Keys, Count, true>(key, next, first, dim, scores);
    }
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) score[i][v] = V::load(scores + i * kAcross + v * V::kLanes);
    }
  }

  template <int Keys, int Count, bool Adds>
  [[gnu::noinline]] void chain_apart(const float* key, const float* next, int first, int dim, float* scores) const {
    Vector score[Keys][Count];
    chain(key, next, first, dim, end_of_chain(dim), score);
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) {
        float* const sum = scores + i * kAcross + v * V::kLanes;
        V::store(sum, Adds ? V::add(V::load(sum), score[i][v]) : score[i][v]);
      }
    }
  }

  int end_of_chain(int dim) const { return tile_.words < dim + kScoreWords ? tile_.words : dim + kScoreWords; }

  /// One chain of multiply-adds from zero over dims [begin, end), for neighbouring keys. Meanwhile the next strip of keys is
  /// fetched, a line for every kTurns dims, so that the strip's kTurns groups of keys fetch all of it: its stride is that of the
  /// cache's lines, and keys that come from memory cost 0.77 of the peak without, 0.91 with.
  template <int Keys, int Count>
  [[gnu::always_inline]] inline void chain(const float* key, const float* next, int first, int begin, int end,
                                           Vector (&score)[Keys][Count]) const {
    constexpr int kTurns = kStrip / Keys;
    clear(score);
    int dim = begin;
    for (; dim + kTurns <= end; dim += kTurns) {
      __builtin_prefetch(next + dim / kTurns * kStrip);
      GYRE_UNROLL for (int i = 0; i < kTurns; ++i) multiply_dim(key, first, dim + i, score);
    }
    for (; dim < end; ++dim) multiply_dim(key, first, dim, score);
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void multiply_dim(const float* key, int first, int dim, Vector (&score)[Keys][Count]) const {
    Vector query[Count];
    GYRE_UNROLL for (int v = 0; v < Count; ++v) query[v] = V::load(query_[first + v] + dim * kStrip);
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      const Vector broadcast = V::set1(key[dim * kStrip + i]);
      GYRE_UNROLL for (int v = 0; v < Count; ++v) V::add_product(broadcast, query[v], score[i][v]);
    }
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void times_factor(Vector (&score)[Keys][Count]) const {
    const Vector factor = V::set1(tile_.factor);
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) score[i][v] = V::mul(score[i][v], factor);
    }
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void cap(Vector (&score)[Keys][Count]) const {
    const Vector cap = V::set1(tile_.cap);
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) score[i][v] = capped<V>(score[i][v], cap);
    }
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void bias(int key, int first, Vector (&score)[Keys][Count]) const {
    GYRE_UNROLL for (int v = 0; v < Count; ++v) {
      const int lane = shift_ + (first + v) * V::kLanes;
      const Vector slope = V::load(tile_.bias_slopes + lane), distance = V::load(tile_.distances + lane);
      GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
        score[i][v] = biased<V>(score[i][v], slope, V::sub(distance, V::set1(static_cast<float>(key + i))));
      }
    }
  }

  template <int Keys, int Count>
  [[gnu::always_inline]] inline void mask(const std::uint64_t* visible, int first, Vector (&score)[Keys][Count]) const {
    GYRE_UNROLL for (int i = 0; i < Keys; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) {
        score[i][v] = V::select(V::lanes(visible[i] >> (shift_ + (first + v) * V::kLanes)), score[i][v], V::set1(kMaskedScore));
      }
    }
  }

  /// Pass 2: scores become weights. The score is split into integer and fraction before the maximum is subtracted, so weights of
  /// the same score under different maxima differ by an exact power of two. Words of weights lie at the beginning of the scores:
  /// the word of keys 2k and 2k + 1 at row k, where no score is read any more.
  template <bool Drops>
  [[gnu::always_inline]] inline void weigh_panels(const Vector (&maximum)[Vectors], Vector (&sum)[Vectors]) const {
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) sum[v] = V::zero();
    for (int panel = 0; panel < panels_.chain_count * kPanelsOfChain; ++panel) {
      const float* const scores = tile_.scores + panel * kPanel * kAcross;
      float* const weights = tile_.scores + panel * kPanelRows * kAcross;
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
        if (!panels_.sees(v, panel)) continue;
        const float* const from = scores + v * V::kLanes;
        float* const to = weights + v * V::kLanes;
        const bool normal = V::kScalesNormal && all_normal(from, maximum[v]);
        const Row row{.lane = shift_ + v * V::kLanes, .first_key = panel * kPanel};
        sum[v] = V::add(sum[v], normal ? weigh<kPanel, true, Drops>(from, to, maximum[v], row)
                                       : weigh<kPanel, false, Drops>(from, to, maximum[v], row));
      }
    }
  }

  [[gnu::noinline]] void weigh_and_drop_panels(const Vector (&maximum)[Vectors], Vector (&sum)[Vectors]) const {
    weigh_panels<true>(maximum, sum);
  }

  /// Whether no weight of a panel is denormal or 0: most are not, and scaling them is then an addition to their exponents.
  GYRE_INLINE bool all_normal(const float* scores, Vector maximum) {
    if constexpr (V::kScalesNormal) {
      Vector least = V::load(scores);
      GYRE_UNROLL for (int i = 1; i < kPanel; ++i) least = V::min(least, V::load(scores + i * kAcross));
      return V::all_greater(V::sub(least, maximum), V::set1(kLeastNormalWeight));
    }
    return false;
  }

  /// Where dropout finds a vector of rows and their keys.
  struct Row {
    int lane = 0;
    int first_key = 0;
  };

  /// Weights of Count neighbouring keys; returns their sum, added in pairs, before they are dropped and rounded to words.
  template <int Count, bool Normal, bool Drops>
  GYRE_INLINE_MEMBER Vector weigh(const float* scores, float* weights, Vector maximum, Row row) const {
    if constexpr (Count == V::kPair) {
      Vector weight[Count], left[Count];
      GYRE_UNROLL for (int i = 0; i < Count; ++i) {
        weight[i] = left[i] = weight_of<V, Normal>(V::load(scores + i * kAcross), maximum);
        if constexpr (Drops) left[i] = V::mul(weight[i], kept_rows<V>(tile_.dropout, row.lane, row.first_key + i));
      }
      V::store(weights, V::words(left));
      if constexpr (Count == 1)
        return weight[0];
      else
        return V::add(weight[0], weight[Count - 1]);
    } else {
      constexpr int kHalf = Count / 2;
      const Vector low = weigh<kHalf, Normal, Drops>(scores, weights, maximum, row);
      row.first_key += kHalf;
      return V::add(low, weigh<kHalf, Normal, Drops>(scores + kHalf * kAcross, weights + kHalf / V::kPair * kAcross, maximum, row));
    }
  }

  /// Pass 3: Rows channels of Count vectors' products, chains from zero over kChainKeys keys each, folded into the numerator.
  /// A call of its own, so that the factors of the merge stay in memory: in registers beside the chains and their sums they would
  /// push the weights out, and every multiply-add would load its own.
  template <int Count, int Rows>
  [[gnu::noinline]] void multiply(int channel, int first, const Merge<V> (&merge)[Vectors]) const {
    const std::int64_t rows = (tile_.unit_keys + kStrip - 1) / kStrip * kStrip / V::kPair;
    const float* value = tile_.value + channel / kChannels * rows * kChannels + channel % kChannels;
    const float* next = value + rows * kChannels + channel % kChannels / Rows * kStrip;
    const float* weights = tile_.scores + first * V::kLanes;
    Vector unit[Rows][Count];
    clear(unit);
    for (int chain = 0; chain < panels_.chain_count; ++chain) {
      const unsigned seen = panels_.seen[first][chain];
      if (seen != 0) multiply_chain(seen, value, next, weights, unit);
      value += kChainRows * kChannels, next += kChainRows * kChannels, weights += kChainRows * kAcross;
    }
    if (tile_.visible == nullptr) {
      fold_channels<true>(channel, first, merge, unit);
    } else {
      fold_channels<false>(channel, first, merge, unit);
    }
  }

  template <bool AllSeen, int Rows, int Count>
  [[gnu::always_inline]] inline void fold_channels(int channel, int first, const Merge<V> (&merge)[Vectors],
                                                   const Vector (&unit)[Rows][Count]) const {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) {
        float* const numerator = partial_[first + v] + (channel + i) * kNumeratorStride;
        fold<V, AllSeen>(numerator, numerator + kStrip, merge[first + v], unit[i][v]);
      }
    }
  }

  /// Adds the products of those of a chain's panels that some row sees. The next block of channels is fetched meanwhile.
  template <int Rows, int Count>
  [[gnu::always_inline]] inline void multiply_chain(unsigned seen, const float* value, const float* next, const float* weights,
                                                    Vector (&unit)[Rows][Count]) const {
    Vector chain[Rows][Count];
    clear(chain);
    if (const Words run = run_of(seen); run.begin < run.end) {
      for (int row = run.begin; row < run.end; row += 4) {
        multiply_rows<4>(value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
      }
    } else {
      for (int panel = 0; panel < kPanelsOfChain; ++panel) {
        const int row = panel * kPanelRows;
        if (seen >> panel & 1) {
          multiply_rows<kPanelRows>(value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
        }
      }
    }
    add_chain(chain, unit);
  }

  /// Rows of words of a chain.
  struct Words {
    int begin = 0;
    int end = 0;
  };

  /// Those of the panels that are seen if they lie side by side, else none. Chains of pairs are longer than short units and blocks;
  /// those of fp32 are not, and faster in a loop of fixed length.
  GYRE_INLINE Words run_of(unsigned seen) {
    if constexpr (V::kPair == 1) return seen == Panels<V, Vectors>::kWholeChain ? Words{0, kChainRows} : Words{};
    const int first = __builtin_ctz(seen);
    const unsigned run = seen >> first;
    return (run & (run + 1)) == 0 ? Words{first * kPanelRows, (first + __builtin_ctz(~run)) * kPanelRows} : Words{};
  }

  /// Pass 3 where the vectors see different panels: each goes on as far as it sees, in the register block of all. A vector that saw
  /// nothing is left alone by the fold. For pairs, whose chains are long enough to pay for the ways between them: a diagonal tile
  /// 0.62 -> 0.69 (d=64), 0.66 -> 0.73 (d=128); of fp32 it is 0.83 -> 0.78.
  [[gnu::noinline]] void multiply_unlike(int channel, const Merge<V> (&merge)[Vectors]) const {
    const std::int64_t rows = (tile_.unit_keys + kStrip - 1) / kStrip * kStrip / V::kPair;
    const float* value = tile_.value + channel / kChannels * rows * kChannels + channel % kChannels;
    const float* next = value + rows * kChannels + channel % kChannels / V::kRows * kStrip;
    const float* weights = tile_.scores;
    Vector unit[V::kRows][Vectors];
    clear(unit);
    for (int chain = 0; chain < panels_.chain_count; ++chain) {
      multiply_unlike_chain(chain, value, next, weights, unit);
      value += kChainRows * kChannels, next += kChainRows * kChannels, weights += kChainRows * kAcross;
    }
    fold_channels<false>(channel, 0, merge, unit);
  }

  /// First the panels from the chain's beginning that all vectors see.
  [[gnu::always_inline]] inline void multiply_unlike_chain(int index, const float* value, const float* next, const float* weights,
                                                           Vector (&unit)[V::kRows][Vectors]) const {
    unsigned all = panels_.seen[0][index], some = all;
    GYRE_UNROLL for (int v = 1; v < Vectors; ++v) all &= panels_.seen[v][index], some |= panels_.seen[v][index];
    Vector chain[V::kRows][Vectors];
    clear(chain);
    int panel = __builtin_ctz(~all);
    for (int row = 0; row < panel * kPanelRows; row += 4) {
      multiply_rows<4>(value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
    }
    for (; some >> panel != 0; ++panel) {
      const int row = panel * kPanelRows;
      multiply_seen<0>(index, panel, value + row * kChannels, next + row * kChannels, weights + row * kAcross, chain);
    }
    add_chain(chain, unit);
  }

  /// A panel by those vectors from First on that see it; neighbours go together.
  template <int First>
  [[gnu::always_inline]] inline void multiply_seen(int index, int panel, const float* value, const float* next,
                                                   const float* weights, Vector (&chain)[V::kRows][Vectors]) const {
    const bool sees = (panels_.seen[First][index] >> panel & 1) != 0;
    if constexpr (First + 1 < Vectors) {
      if (sees && (panels_.seen[First + 1][index] >> panel & 1) != 0) {
        multiply_rows<kPanelRows, First, First + 2>(value, next, weights, chain);
        if constexpr (First + 2 < Vectors) multiply_seen<First + 2>(index, panel, value, next, weights, chain);
        return;
      }
    }
    if (sees) multiply_rows<kPanelRows, First, First + 1>(value, next, weights, chain);
    if constexpr (First + 1 < Vectors) multiply_seen<First + 1>(index, panel, value, next, weights, chain);
  }

  /// By the vectors [First, End) of Count. A block of channels is gone through kChannels / Rows times; each time fetches its share
  /// of the next block's lines.
  template <int Keys, int First = 0, int End = -1, int Rows, int Count>
  [[gnu::always_inline]] inline void multiply_rows(const float* value, const float* next, const float* weights,
                                                   Vector (&chain)[Rows][Count]) const {
    constexpr int kEnd = End < 0 ? Count : End;
    constexpr int kLines = Keys * kChannels / kStrip;
    constexpr int kPasses = kChannels / Rows;
    GYRE_UNROLL for (int line = 0; line < kLines; line += kPasses) __builtin_prefetch(next + line * kStrip);
    GYRE_UNROLL for (int row = 0; row < Keys; ++row) {
      Vector weight[Count];
      GYRE_UNROLL for (int v = First; v < kEnd; ++v) weight[v] = V::load(weights + row * kAcross + v * V::kLanes);
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        const Vector broadcast = V::set1(value[row * kChannels + i]);
        GYRE_UNROLL for (int v = First; v < kEnd; ++v) chain[i][v] = V::multiply(broadcast, weight[v], chain[i][v]);
      }
    }
  }

  template <int Rows, int Count>
  GYRE_INLINE void clear(Vector (&products)[Rows][Count]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) products[i][v] = V::zero();
    }
  }
  template <int Rows, int Count>
  GYRE_INLINE void add_chain(const Vector (&chain)[Rows][Count], Vector (&unit)[Rows][Count]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Count; ++v) unit[i][v] = V::add(unit[i][v], chain[i][v]);
    }
  }

  const Tile& tile_;
  const float* query_[Vectors];
  float* partial_[Vectors];
  int shift_;  // of visibility words
  Panels<V, Vectors> panels_;
};

/// As many vectors at a time as the registers hold, in parts as even as possible.
template <class V, bool Capped>
void attend_vectors(const Tile& tile) {
  const int count = tile.strip_count * kStrip / V::kLanes;
  int first = 0;
  for (int parts = (count + V::kVectors - 1) / V::kVectors; parts > 0; --parts) {
    const int vectors = (count - first + parts - 1) / parts;
    if constexpr (V::kVectors >= 4) {
      if (vectors == 4) Body<V, 4, Capped>(tile, first).run();
    }
    if constexpr (V::kVectors >= 3) {
      if (vectors == 3) Body<V, 3, Capped>(tile, first).run();
    }
    if (vectors == 2) Body<V, 2, Capped>(tile, first).run();
    if (vectors == 1) Body<V, 1, Capped>(tile, first).run();
    first += vectors;
  }
}

template <class V>
void attend_tile(const Tile& tile) {
  if (tile.cap == 0) {
    attend_vectors<V, false>(tile);
  } else {
    attend_vectors<V, true>(tile);
  }
}

}  // namespace
}  // namespace gyre
