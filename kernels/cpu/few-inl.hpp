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
// Each key and value is loaded once for up to four rows, one after the other as they lie in memory: a row costs as many
// multiply-adds as its keys have numbers, so that a few rows are bound by reading keys and values.
#pragma once

#include "kernels/cell.hpp"
#include "kernels/cpu/merge-inl.hpp"
#include "kernels/cpu/vec.hpp"
#include "kernels/cpu/weights-inl.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

/// V has at most kChannels lanes.
template <class V, bool Capped>
class Few {
 public:
  explicit Few(const Tile& tile) : tile_(tile), strips_((tile.keys + kStrip - 1) / kStrip) {}

  void run() {
    find_seen_panels();
    if (!any_) return;
    for (int lane = 0; lane < kStrip; ++lane) maximum_[lane] = kMaskedScore, sum_[lane] = 0;
    by_rows([&](auto rows, int first) { score<rows>(first); });
    for (int row = 0; row < tile_.few_rows; ++row) weigh(row);
    float* const partial = tile_.strips[0].partial;
    const int statistics = 2 * tile_.value_dim * kStrip;
    for (int v = 0; v < kVectors; ++v) {
      merge_[v] =
          merge_sums<V>(partial + statistics + v * V::kLanes, V::load(maximum_ + v * V::kLanes), V::load(sum_ + v * V::kLanes));
    }
    for (int channel = 0; channel < tile_.value_dim; channel += kChannels) {
      by_rows([&](auto rows, int first) { multiply<rows>(channel, first); });
      fold_channels(channel);
    }
  }

 private:
  using Vector = typename V::Vector;
  static constexpr int kVectors = kStrip / V::kLanes;    // of a strip
  static constexpr int kAcross = kChannels / V::kLanes;  // vectors of a row of values
  static constexpr int kChainRows = chain_rows<V>();
  static constexpr int kPanelRows = kPanel / V::kPair;

  template <int Rows>
  struct Count {
    constexpr operator int() const { return Rows; }
  };

  /// Rows four, two or one at a time.
  template <class Do>
  GYRE_INLINE_MEMBER void by_rows(Do&& run) const {
    int row = 0;
    for (; row + 4 <= tile_.few_rows; row += 4) run(Count<4>{}, row);
    if (row + 2 <= tile_.few_rows) run(Count<2>{}, row), row += 2;
    if (row < tile_.few_rows) run(Count<1>{}, row);
  }

  float* scores(int row) const { return tile_.scores + row * strips_ * kStrip; }

  void find_seen_panels() {
    const int panels = strips_ * kStrip / kPanel;
    for (int panel = 0; panel < panels; ++panel) {
      std::uint64_t seen = tile_.visible == nullptr;
      for (int i = 0; tile_.visible != nullptr && i < kPanel; ++i) seen |= tile_.visible[panel * kPanel + i] & 0xffff;
      seen_[panel] = seen != 0;
      any_ |= seen_[panel];
    }
  }

  template <int Rows>
  void score(int first) {
    Vector maximum[Rows];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) maximum[i] = V::set1(kMaskedScore);
    for (int strip = 0; strip < strips_; ++strip) {
      Vector score[Rows][kVectors];
      score_strip(tile_.key + strip * kStrip * tile_.words, first, score);
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
          if (tile_.visible != nullptr) score[i][v] = masked(score[i][v], strip * kStrip + v * V::kLanes, first + i);
          V::store(scores(first + i) + strip * kStrip + v * V::kLanes, score[i][v]);
          maximum[i] = V::max(maximum[i], score[i][v]);
        }
      }
    }
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) maximum_[first + i] = largest_of(maximum[i]);
  }

  /// Sixteen keys' scores: chains from zero, added up in order, as Body::score_panel has them.
  template <int Rows>
  GYRE_INLINE_MEMBER void score_strip(const float* key, int first, Vector (&score)[Rows][kVectors]) const {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::zero();
    }
    for (int begin = 0; begin < tile_.words; begin += score_words<V>()) {
      const int end = tile_.words < begin + score_words<V>() ? tile_.words : begin + score_words<V>();
      Vector chain[Rows][kVectors];
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::zero();
      }
      _Pragma("GCC unroll 4") for (int word = begin; word < end; ++word) {
        __builtin_prefetch(key + word * kStrip + kAhead);
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
          const Vector keys = V::load(key + word * kStrip + v * V::kLanes);
          GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
            chain[i][v] = V::multiply(keys, V::set1(tile_.strips[0].query[word * kStrip + first + i]), chain[i][v]);
          }
        }
      }
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) score[i][v] = V::add(score[i][v], chain[i][v]);
      }
    }
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
        if constexpr (V::kPair > 1) score[i][v] = V::mul(score[i][v], V::set1(tile_.factor));
        if constexpr (Capped) score[i][v] = capped<V>(score[i][v], V::set1(tile_.cap));
      }
    }
  }

  Vector masked(Vector score, int key, int row) const {
    std::uint64_t keys = 0;
    for (int i = 0; i < V::kLanes; ++i) keys |= (tile_.visible[key + i] >> row & 1) << i;
    return V::select(V::lanes(keys), score, V::set1(kMaskedScore));
  }

  static float largest_of(Vector maximum) {
    alignas(kAlignment) float lanes[V::kLanes];
    V::store(lanes, whole_maximum<V>(maximum));
    float largest = lanes[0];
    for (int i = 1; i < V::kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
  }

  /// A row's scores become weights, words of them in place; their sum is added up in pairs within a panel, panel by panel.
  void weigh(int row) {
    const Vector maximum = V::set1(maximum_[row]);
    float* const scores_of_row = scores(row);
    float sum = 0;
    for (int panel = 0; panel < strips_ * kStrip / kPanel; ++panel) {
      if (!seen_[panel]) continue;
      alignas(kAlignment) float weights[kPanel];
      for (int i = 0; i < kPanel; i += V::kLanes) {
        V::store(weights + i, weight_of<V>(V::load(scores_of_row + panel * kPanel + i), maximum));
      }
      sum += ((weights[0] + weights[1]) + (weights[2] + weights[3])) + ((weights[4] + weights[5]) + (weights[6] + weights[7]));
      V::store_panel(scores_of_row + panel * kPanelRows, weights);
    }
    sum_[row] = sum;
  }

  /// The products of some rows with one block of channels.
  template <int Rows>
  void multiply(int channel, int first) {
    const int rows = strips_ * kStrip / V::kPair;
    const float* const value = tile_.value + channel * rows;
    Vector unit[Rows][kAcross];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) unit[i][a] = V::zero();
    }
    int row = 0;
    if (tile_.visible == nullptr) {
      constexpr int kChains = 8 / Rows / kAcross > 1 ? 8 / Rows / kAcross : 1;  // side by side: enough for the latency
      for (; row + kChains * kChainRows <= rows; row += kChains * kChainRows) add_chains<Rows, kChains>(value, first, row, unit);
    }
    for (; row < rows; row += kChainRows) add_seen(value, first, row, row + kChainRows < rows ? row + kChainRows : rows, unit);
    alignas(kAlignment) float lanes[kChannels];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      for (int a = 0; a < kAcross; ++a) V::store(lanes + a * V::kLanes, unit[i][a]);
      for (int c = 0; c < kChannels; ++c) unit_[c][first + i] = lanes[c];
    }
  }

  template <int Rows, int Chains>
  GYRE_INLINE_MEMBER void add_chains(const float* value, int first, int row, Vector (&unit)[Rows][kAcross]) const {
    Vector chain[Chains][Rows][kAcross];
    GYRE_UNROLL for (int c = 0; c < Chains; ++c) {
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
        GYRE_UNROLL for (int a = 0; a < kAcross; ++a) chain[c][i][a] = V::zero();
      }
    }
    _Pragma("GCC unroll 2") for (int k = 0; k < kChainRows; ++k) {
      GYRE_UNROLL for (int c = 0; c < Chains; ++c) {
        const float* const values = value + (row + c * kChainRows + k) * kChannels;
        __builtin_prefetch(values + kAhead);
        multiply_row(values, first, row + c * kChainRows + k, chain[c]);
      }
    }
    GYRE_UNROLL for (int c = 0; c < Chains; ++c) add_to(unit, chain[c]);
  }

  /// One chain, of panels that somebody sees.
  template <int Rows>
  void add_seen(const float* value, int first, int begin, int end, Vector (&unit)[Rows][kAcross]) const {
    Vector chain[Rows][kAcross];
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) chain[i][a] = V::zero();
    }
    bool any = false;
    for (int panel = begin / kPanelRows; panel < end / kPanelRows; ++panel) {
      if (!seen_[panel]) continue;
      any = true;
      for (int row = panel * kPanelRows; row < (panel + 1) * kPanelRows; ++row)
        multiply_row(value + row * kChannels, first, row, chain);
    }
    if (any) add_to(unit, chain);
  }

  template <int Rows>
  GYRE_INLINE_MEMBER void multiply_row(const float* values, int first, int row, Vector (&chain)[Rows][kAcross]) const {
    GYRE_UNROLL for (int a = 0; a < kAcross; ++a) {
      const Vector channels = V::load(values + a * V::kLanes);
      GYRE_UNROLL for (int i = 0; i < Rows; ++i) chain[i][a] = V::multiply(channels, V::set1(scores(first + i)[row]), chain[i][a]);
    }
  }

  template <int Rows>
  GYRE_INLINE void add_to(Vector (&unit)[Rows][kAcross], const Vector (&chain)[Rows][kAcross]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int a = 0; a < kAcross; ++a) unit[i][a] = V::add(unit[i][a], chain[i][a]);
    }
  }

  void fold_channels(int channel) {
    float* const partial = tile_.strips[0].partial;
    for (int c = 0; c < kChannels; ++c) {
      for (int v = 0; v < kVectors; ++v) {
        float* const numerator = partial + (channel + c) * kStrip + v * V::kLanes;
        fold<V>(numerator, numerator + tile_.value_dim * kStrip, merge_[v], V::load(unit_[c] + v * V::kLanes));
      }
    }
  }

  static constexpr int kAhead = 256;  // floats; 1 kB

  const Tile& tile_;
  int strips_;  // of keys
  bool any_ = false;
  bool seen_[kLongestUnit / kPanel];
  alignas(kAlignment) float maximum_[kStrip], sum_[kStrip];
  alignas(kAlignment) float unit_[kChannels][kStrip] = {};
  Merge<V> merge_[kVectors];
};

template <class V>
void attend_few(const Tile& tile) {
  if (tile.cap == 0) {
    Few<V, false>(tile).run();
  } else {
    Few<V, true>(tile).run();
  }
}

}  // namespace
}  // namespace gyre
