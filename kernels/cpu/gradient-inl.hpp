// The body of the backward pass: a block of 64 query rows against one unit of keys, for every instruction set.
//
// Rows lie in vector lanes as in attend-inl.hpp, for everything that is a number per (key, row):
//
//   scores   S[key][row]  = sum over dims of K[key][dim] (broadcast) * Q[dim][row]
//   slopes   T[key][row]  = sum over channels of V[key][channel] (broadcast) * G[channel][row], G the gradient of the output
//   weights  P = 2^(factor S + bias - lse),  dS = P (scale T - scale D)  (times 1 - (s / cap)^2 with a cap), while T is in
//            registers; with a bias or dropout when it lies in memory. Dropout drops P, for dV, and T, but not the P that T meets
//   queries  dQ[dim][row] = sum over keys of K[key][dim] (broadcast) * dS[key][row]
//
// and dims in lanes for what is a row per key, from the block's queries and G transposed once into rows:
//
//   values   dV[key][channel] = sum over rows of P[key][row] (broadcast) * G[row][channel]
//   keys     dK[key][dim]     = sum over rows of dS[key][row] (broadcast) * Q[row][dim]
//
// With pairs of bf16 each sum goes over words of two neighbours: of dims in S and T, as cells have them; of rows in dV and dK: a
// vector of P rounded to bf16 is words of rows as it lies, and Q and G become so when they are transposed; of keys in dQ, for which
// dS is written a second time, two keys interleaved, and K is laid out once a unit (gradient_keys.hpp).
//
// Registers: kGroup strips (64 floats with AVX-512) by kKeys keys or kRows dims: 16 accumulators, 8 loads per 16 multiply-adds.
// Caches: of 64 keys, S and T are 16 kB each; they are made 64 words at a time, so that what is multiplied with every key
// (64 words of 64 rows) is 16 kB too and stays in the nearest cache; a longer sum goes through memory once every 64 words.
//
// Order of additions. S and T: chains from zero over 64 words. dQ: chains from zero over kKeys keys, put together to the sum of
// (row, unit), which fold_grad_query adds to the row's total. dK and dV: chains from zero over the block's rows, put together to
// the share of (key, query cell), which fold_grad_keys adds to the key's total. Both totals are compensated by an addition whose
// error is exact whatever the operands are (Knuth): after it the total is the rounded sum of itself and what is lost, so that
// adding 0 changes neither, and a panel of keys that no row sees may be left out or not. (A sum from zero is never -0, so nor is a
// total.) An invisible pair has P = dS = 0 exactly.
//
// Chains of 64 and not of 32, as in the forward pass, are what a block has: registers hold 16 chains and no sums of theirs, so that
// every end of a chain is 16 stores, of two cycles each. Where all addends are equal a chain of 64 is off by up to 8 units in the
// last place (of 32: by 4), of the 12 and more that a gradient's bound (reference.hpp) has.
//
// Cost per (key, row): 3 head_dim + 2 value_dim multiply-adds and about 13 operations, 7 of them multiply-adds; per (key, block)
// and dim an addition, a load and a store beside 64 multiply-adds, and per (key, query cell) and dim 7 additions, 3 loads and 2
// stores.
//
// Dao, FlashAttention-2 (2307.08691), algorithm 2.
#pragma once

#include "kernels/cpu/weights-inl.hpp"
#include "kernels/gradient_tile.hpp"

namespace gyre {
namespace {

/// Of a row of so many dims.
template <class V>
constexpr int words_of(int dims) {
  return (dims + V::kPair - 1) / V::kPair;
}

/// total + addend, rounded, and what the rounding lost of lost + addend. What is lost lies as gradient_at says.
template <class V>
GYRE_INLINE void add_compensated(float* total_at, typename V::Vector addend) {
  float* const lost_at = total_at + kStrip;
  const auto total = V::load(total_at);
  const auto taken = V::add(V::load(lost_at), addend);
  const auto sum = V::add(total, taken);
  const auto part = V::sub(sum, total);
  V::store(total_at, sum);
  V::store(lost_at, V::add(V::sub(total, V::sub(sum, part)), V::sub(taken, part)));
}

/// Rows lie in columns of up to kColumn dims: rows of more than that would all begin in the same few sets of the nearest cache.
constexpr int kColumn = 64;
struct Column {
  std::int64_t begin = 0;  // words from the first row's first dim
  int stride = 0;          // words from row to row of words
};
template <class V>
GYRE_INLINE Column column_of(int dim, int dims) {
  const int first = dim / kColumn * kColumn;
  return {std::int64_t{first} * (GradientTile::kRows / V::kPair) + dim % kColumn, dims - first < kColumn ? dims - first : kColumn};
}

/// Strips [words][16] to rows, in columns; dims past the end become 0. Words of neighbouring dims become words of neighbouring
/// rows.
template <class V>
void rows_of_strips(const float* const (&strips)[GradientTile::kStrips], int count, int dims, float* rows) {
  const int stride = static_cast<int>(round_up(dims, kStrip)), words = words_of<V>(dims);
  for (int s = 0; s < count; ++s) {
    for (int dim = 0; dim < stride; dim += V::kLanes * V::kPair) {
      for (int lane = 0; lane < kStrip; lane += V::kLanes) {
        typename V::Vector square[V::kLanes];
        const float* const from = strips[s] + dim / V::kPair * kStrip + lane;
        if (dim / V::kPair + V::kLanes <= words) {
          GYRE_UNROLL for (int i = 0; i < V::kLanes; ++i) square[i] = V::load(from + i * kStrip);
        } else {
          for (int i = 0; i < V::kLanes; ++i) square[i] = dim / V::kPair + i < words ? V::load(from + i * kStrip) : V::zero();
        }
        V::transpose(square);
        if constexpr (V::kPair > 1) {
          GYRE_UNROLL for (int i = 0; i < V::kLanes; i += V::kPair) V::interleave(square[i], square[i + 1]);
        }
        for (int piece = 0; piece < V::kPair && dim + piece * V::kLanes < stride; ++piece) {
          const Column column = column_of<V>(dim + piece * V::kLanes, stride);
          float* const to = rows + column.begin + (s * kStrip + lane) / V::kPair * column.stride;
          GYRE_UNROLL for (int i = 0; i < V::kLanes / V::kPair; ++i) V::store(to + i * column.stride, square[i * V::kPair + piece]);
        }
      }
    }
  }
}

template <class V, bool Capped>
class GradientBody {
 public:
  explicit GradientBody(const GradientTile& tile) : tile_(tile), groups_((tile.strip_count + kGroup - 1) / kGroup) {}

  void run() {
    take_rows();
    for (first_ = 0; first_ < tile_.keys; first_ += GradientTile::kKeys) {
      find_panels();
      if (!any()) continue;
      for (int group = 0; group < groups_; ++group) {
        const float *queries[kGroup], *grad_outs[kGroup];
        for (int s = 0; s < kGroup; ++s) {
          queries[s] = tile_.strips[group * kGroup + s].query, grad_outs[s] = tile_.strips[group * kGroup + s].grad_out;
        }
        multiply_dims<false>(tile_.key, tile_.key_strip, queries, words_of<V>(tile_.head_dim), tile_.scores, group);
        const int words = words_of<V>(tile_.value_dim);
        const bool biased = tile_.bias_slopes != nullptr, drops = tile_.dropout.first != nullptr;
        if (biased || drops) {
          multiply_dims<false>(tile_.value, std::int64_t{words} * kStrip, grad_outs, words, tile_.products, group);
          if (!drops) {
            weigh_panels<true, false>(group);
          } else {
            biased ? weigh_panels<true, true>(group) : weigh_panels<false, true>(group);
          }
        } else {
          multiply_dims<kWeighsAtOnce>(tile_.value, std::int64_t{words} * kStrip, grad_outs, words, tile_.products, group);
          if constexpr (!kWeighsAtOnce) weigh_panels<false, false>(group);
        }
        multiply_keys(group);
        begun_ |= group + 1 == groups_;
      }
      multiply_rows(tile_.weights, tile_.grad_outs, tile_.value_dim, tile_.value_share);
      multiply_rows(tile_.slopes, tile_.queries, tile_.head_dim, tile_.key_share);
      tile_.shared[first_ / GradientTile::kKeys] |= static_cast<std::uint8_t>(seen_);
    }
  }

 private:
  using Vector = typename V::Vector;
  struct Words {
    int begin = 0;
    int end = 0;
  };
  static constexpr int kGroup = V::kLanes == kStrip ? GradientTile::kStrips : 1;  // strips that registers are across
  static constexpr int kWidth = kGroup * kStrip;
  static constexpr int kVectors = kWidth / V::kLanes;
  static constexpr int kAcross = GradientTile::kRows;  // floats from one key's scores to the next one's
  static constexpr int kWordsAcross = kAcross / V::kPair;
  static constexpr int kLinesAtATime = 8;  // fetched for every kKeys keys: enough for pieces as large as 4 / 256 of the work
  static constexpr int kPanels = GradientTile::kKeys / kPanel;
  // From registers, where they have room for the constants of weights too: with 16 it costs a point at d=128.
  static constexpr bool kWeighsAtOnce = V::kRegisters > 16;
  static constexpr int kWordsAtATime = 64;  // of what is multiplied with every key, in one chain: see above
  static_assert(kStrip % (V::kPair * V::kKeys) == 0 && kVectors % V::kPair == 0);

  /// The block's rows, and what is subtracted in each.
  void take_rows() const {
    const float *queries[GradientTile::kStrips], *grad_outs[GradientTile::kStrips];
    for (int s = 0; s < GradientTile::kStrips; ++s) {
      queries[s] = tile_.strips[s].query, grad_outs[s] = tile_.strips[s].grad_out;
      for (int lane = 0; lane < kStrip; ++lane) {
        tile_.row_terms[s * kStrip + lane] = -tile_.statistics[s][lane];
        tile_.row_terms[kAcross + s * kStrip + lane] = -tile_.scale * tile_.statistics[s][kStrip + lane];
      }
    }
    rows_of_strips<V>(queries, tile_.strip_count, tile_.head_dim, tile_.queries);
    rows_of_strips<V>(grad_outs, tile_.strip_count, tile_.value_dim, tile_.grad_outs);
  }

  bool any() const { return seen_ != 0; }
  bool seen(int panel) const { return (seen_ >> panel & 1) != 0; }
  bool shared(int panel) const { return (tile_.shared[first_ / GradientTile::kKeys] >> panel & 1) != 0; }

  /// Of rows, in whole strips.
  static constexpr Words words_between(int first_row, int last_row) {
    return {first_row / kStrip * kStrip / V::kPair, (last_row / kStrip + 1) * kStrip / V::kPair};
  }

  /// Of the kKeys keys from first_ on: panels that some row sees, by which rows, and those that not all see.
  void find_panels() {
    seen_ = masked_ = 0;
    const std::uint64_t all = ~std::uint64_t{0} >> (64 - tile_.strip_count * kStrip);
    for (int panel = 0; panel < kPanels && first_ + panel * kPanel < tile_.keys; ++panel) {
      std::uint64_t any = all, every = all;
      if (tile_.visible != nullptr) {
        any = 0;
        for (int i = 0; i < kPanel; ++i)
          any |= tile_.visible[first_ + panel * kPanel + i], every &= tile_.visible[first_ + panel * kPanel + i];
      }
      if ((any & all) != 0) {
        seen_ |= 1U << panel;
        rows_[panel] = words_between(__builtin_ctzll(any & all), 63 - __builtin_clzll(any & all));
      }
      if ((every & all) != all) masked_ |= 1U << panel;
    }
  }

  /// sum[key][row] = sum over words of cell[key][word] rows[word][row], for panels that are seen; the sums become weights and
  /// slopes, or are kept.
  template <bool Weigh>
  [[gnu::noinline]] void multiply_dims(const float* cell, std::int64_t cell_strip, const float* const (&rows)[kGroup], int words,
                                       float* sums, int group) const {
    for (int begin = 0; begin < words; begin += kWordsAtATime) {
      const int end = words < begin + kWordsAtATime ? words : begin + kWordsAtATime;
      for (int panel = 0; panel < kPanels; ++panel) {
        if (!seen(panel)) continue;
        for (int key = panel * kPanel; key < (panel + 1) * kPanel; key += V::kKeys) {
          const float* const keys = cell + (first_ + key) / kStrip * cell_strip + key % kStrip;
          float* const to = sums + key * kAcross + group * kWidth;
          Vector sum[V::kKeys][kVectors];
          chain_of_dims(keys, rows, begin, end, sum);
          if (begin > 0) {
            each<V::kKeys, kVectors>(
                [&](int i, int v) { sum[i][v] = V::add(V::load(to + i * kAcross + v * V::kLanes), sum[i][v]); });
          }
          if (!Weigh || end < words) {
            each<V::kKeys, kVectors>([&](int i, int v) { V::store(to + i * kAcross + v * V::kLanes, sum[i][v]); });
          } else if ((masked_ >> panel & 1) != 0) {
            weigh<true, false, false>(sum, key, group);
          } else {
            weigh<false, false, false>(sum, key, group);
          }
        }
      }
    }
  }

  [[gnu::always_inline]] inline void chain_of_dims(const float* keys, const float* const (&rows)[kGroup], int begin, int end,
                                                   Vector (&chain)[V::kKeys][kVectors]) const {
    clear(chain);
    for (int w = begin; w < end; ++w) {
      Vector row[kVectors];
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) row[v] =
          V::load(rows[v * V::kLanes / kStrip] + w * kStrip + v * V::kLanes % kStrip);
      GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
        const Vector broadcast = V::set1(keys[w * kStrip + i]);
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::multiply(broadcast, row[v], chain[i][v]);
      }
    }
  }

  template <int Rows, int Vectors, class Do>
  GYRE_INLINE void each(Do&& at) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) at(i, v);
    }
  }

  template <int Rows, int Vectors>
  GYRE_INLINE void clear(Vector (&block)[Rows][Vectors]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) block[i][v] = V::zero();
    }
  }

  template <bool Biased, bool Drops>
  [[gnu::noinline]] void weigh_panels(int group) const {
    for (int panel = 0; panel < kPanels; ++panel) {
      if (!seen(panel)) continue;
      for (int key = panel * kPanel; key < (panel + 1) * kPanel; key += V::kKeys) {
        Vector product[V::kKeys][kVectors];
        each<V::kKeys, kVectors>(
            [&](int i, int v) { product[i][v] = V::load(tile_.products + (key + i) * kAcross + group * kWidth + v * V::kLanes); });
        if ((masked_ >> panel & 1) != 0) {
          weigh<true, Biased, Drops>(product, key, group);
        } else {
          weigh<false, Biased, Drops>(product, key, group);
        }
      }
    }
  }

  /// Weights and slopes, the gradients of scores, from scores and grad_out . value.
  template <bool Masked, bool Biased, bool Drops>
  [[gnu::always_inline]] inline void weigh(const Vector (&product)[V::kKeys][kVectors], int first_key, int group) const {
    GYRE_UNROLL for (int v = 0; v < kVectors; v += V::kPair) {
      GYRE_UNROLL for (int i = 0; i < V::kKeys; i += V::kPair) {
        const int key = first_key + i, row = group * kWidth + v * V::kLanes;
        Vector weight[V::kPair][V::kPair], slope[V::kPair][V::kPair];
        each<V::kPair, V::kPair>([&](int k, int u) {
          weight[k][u] = weight_of<Masked, Biased>(key + k, row + u * V::kLanes);
          Vector gradient = product[i + k][v + u], left = weight[k][u];
          if constexpr (Drops) {
            const Vector share = kept_rows<V>(tile_.dropout, row + u * V::kLanes, first_ + key + k);
            gradient = V::mul(gradient, share), left = V::mul(left, share);
          }
          slope[k][u] = V::mul(weight[k][u], slope_of(gradient, key + k, row + u * V::kLanes));
          weight[k][u] = left;
        });
        if constexpr (V::kPair == 1) {
          V::store(tile_.weights + key * kAcross + row, weight[0][0]);
          V::store(tile_.slopes + key * kAcross + row, slope[0][0]);
        } else {
          store_words(weight, slope, key, row);
        }
      }
    }
  }

  /// Rounded: two keys by two vectors of rows. Words of rows serve the gradients of keys and values, words of keys those of
  /// queries.
  GYRE_INLINE_MEMBER void store_words(const Vector (&weight)[V::kPair][V::kPair], const Vector (&slope)[V::kPair][V::kPair],
                                      int key, int row) const {
    Vector words[V::kPair];
    GYRE_UNROLL for (int k = 0; k < V::kPair; ++k) {
      V::store(tile_.weights + (key + k) * kWordsAcross + row / V::kPair, V::narrow(weight[k]));
      words[k] = V::narrow(slope[k]);
      V::store(tile_.slopes + (key + k) * kWordsAcross + row / V::kPair, words[k]);
    }
    V::interleave(words[0], words[1]);
    GYRE_UNROLL for (int k = 0; k < V::kPair; ++k) {
      V::store(tile_.slope_pairs + key / V::kPair * kAcross + row + k * V::kLanes, words[k]);
    }
  }

  template <bool Masked, bool Biased>
  GYRE_INLINE_MEMBER Vector weight_of(int key, int row) const {
    const Vector product = V::load(tile_.scores + key * kAcross + row), log_sum_exp = V::load(tile_.row_terms + row);
    Vector power;
    if constexpr (Capped) {
      power = V::add(capped<V>(V::mul(product, V::set1(tile_.factor)), V::set1(tile_.cap)), log_sum_exp);
    } else {
      power = V::fma(product, V::set1(tile_.factor), log_sum_exp);
    }
    if constexpr (Biased) {
      const Vector distance = V::sub(V::load(tile_.distances + row), V::set1(static_cast<float>(first_ + key)));
      power = biased<V>(power, V::load(tile_.bias_slopes + row), distance);
    }
    if constexpr (Masked) power = V::select(V::lanes(tile_.visible[first_ + key] >> row), power, V::set1(kMaskedScore));
    const Vector whole = V::round(power);
    return V::scale(exp2_of_fraction<V>(V::sub(power, whole)), whole);
  }

  /// What the weight is multiplied with. Called before the weight takes the place of the score.
  GYRE_INLINE_MEMBER Vector slope_of(Vector product, int key, int row) const {
    const Vector slope = V::fma(product, V::set1(tile_.scale), V::load(tile_.row_terms + kAcross + row));
    if constexpr (!Capped) return slope;
    const Vector score = capped<V>(V::mul(V::load(tile_.scores + key * kAcross + row), V::set1(tile_.factor)), V::set1(tile_.cap));
    const Vector share = V::mul(score, V::set1(1 / tile_.cap));
    return V::mul(slope, V::fma(V::sub(V::zero(), share), share, V::set1(1.0F)));
  }

  /// The unit's share of dQ: adds these keys'.
  [[gnu::noinline]] void multiply_keys(int group) const {
    int dim = 0;
    for (; dim + V::kRows <= tile_.head_dim; dim += V::kRows) multiply_keys_of<V::kRows>(dim, group);
    for (; dim < tile_.head_dim; ++dim) multiply_keys_of<1>(dim, group);
  }

  template <int Dims>
  [[gnu::always_inline]] inline void multiply_keys_of(int dim, int group) const {
    constexpr int kWords = kStrip / V::kPair;  // of a strip of keys
    float* const place = tile_.grad_query + dim * kAcross + group * kWidth;
    Vector chain[Dims][kVectors];
    clear(chain);
    for (int panel = 0; panel < kPanels; ++panel) {
      if (!seen(panel)) continue;
      const int key = panel * kPanel;
      const float* const keys =
          tile_.key_pairs + (first_ + key) / kStrip * tile_.key_strip + dim * kWords + key % kStrip / V::kPair;
      const float* const slopes = tile_.slope_pairs + key / V::kPair * kAcross + group * kWidth;
      GYRE_UNROLL for (int k = 0; k < kPanel / V::kPair; ++k) {
        Vector slope[kVectors];
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) slope[v] = V::load(slopes + k * kAcross + v * V::kLanes);
        GYRE_UNROLL for (int i = 0; i < Dims; ++i) {
          const Vector broadcast = V::set1(keys[i * kWords + k]);
          GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::multiply(broadcast, slope[v], chain[i][v]);
        }
      }
    }
    put<Dims, kVectors>(chain, begun_, place, kAcross);
  }

  /// In place of a sum, or added to it where it has begun.
  template <int Rows, int Vectors>
  GYRE_INLINE void put(const Vector (&chain)[Rows][Vectors], bool begun, float* sums, int stride) {
    if (begun) {
      each<Rows, Vectors>([&](int i, int v) {
        float* const to = sums + i * stride + v * V::kLanes;
        V::store(to, V::add(V::load(to), chain[i][v]));
      });
    } else {
      each<Rows, Vectors>([&](int i, int v) { V::store(sums + i * stride + v * V::kLanes, chain[i][v]); });
    }
  }

  /// share[key][channel] += sum over rows of weights[key][row] rows[row][channel], for panels that are seen; = for those of which
  /// no block before has given a share.
  [[gnu::noinline]] void multiply_rows(const float* weights, const float* rows, int channels, float* share) {
    const int stride = static_cast<int>(round_up(channels, kStrip));
    int channel = 0;
    for (; channel + kWidth <= stride; channel += kWidth) multiply_rows_of<kVectors>(weights, rows, channel, stride, share);
    if constexpr (kGroup >= 4) {
      if (channel + 2 * kStrip <= stride) {
        multiply_rows_of<kVectors / 2>(weights, rows, channel, stride, share);
        channel += 2 * kStrip;
      }
    }
    if constexpr (kGroup >= 2) {
      if (channel < stride) multiply_rows_of<kVectors / kGroup>(weights, rows, channel, stride, share);
    }
  }

  template <int Vectors>
  [[gnu::always_inline]] inline void multiply_rows_of(const float* weights, const float* rows, int channel, int stride,
                                                      float* share) {
    const Column column = column_of<V>(channel, stride);
    for (int panel = 0; panel < kPanels; ++panel) {
      if (!seen(panel)) continue;
      for (int key = panel * kPanel; key < (panel + 1) * kPanel; key += V::kKeys) {
        fetch();
        Vector chain[V::kKeys][Vectors];
        chain_of_rows(weights + key * kWordsAcross, rows + column.begin, column.stride, rows_[panel], chain);
        put<V::kKeys, Vectors>(chain, shared(panel), share + std::int64_t{first_ + key} * stride + channel, stride);
      }
    }
  }

  /// kKeys keys by Vectors vectors of channels. Where only some strips of rows see the keys, as on a diagonal, the weights and
  /// slopes of the others are 0.
  template <int Vectors>
  [[gnu::always_inline]] inline void chain_of_rows(const float* weights, const float* rows, int row_stride, Words words,
                                                   Vector (&chain)[V::kKeys][Vectors]) const {
    clear(chain);
    for (int r = words.begin; r < words.end; ++r) {
      Vector row[Vectors];
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) row[v] = V::load(rows + r * row_stride + v * V::kLanes);
      GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
        const Vector broadcast = V::set1(weights[i * kWordsAcross + r]);
        GYRE_UNROLL for (int v = 0; v < Vectors; ++v) chain[i][v] = V::multiply(broadcast, row[v], chain[i][v]);
      }
    }
  }

  /// A few lines of what will be wanted next, into the second cache level.
  [[gnu::always_inline]] inline void fetch() {
    for (int line = 0; line < kLinesAtATime; ++line, fetched_ += kAlignment) {
      while (piece_ < GradientTile::kPieces && fetched_ >= tile_.fetch[piece_].bytes) ++piece_, fetched_ = 0;
      if (piece_ == GradientTile::kPieces) return;
      __builtin_prefetch(tile_.fetch[piece_].begin + fetched_, 0, 2);
    }
  }

  const GradientTile& tile_;
  int groups_;
  int first_ = 0;             // of the keys that are taken at a time
  unsigned seen_ = 0;         // panels of them that some row sees
  unsigned masked_ = 0;       // that not every row sees
  Words rows_[kPanels];       // of a panel that is seen: from the first strip that sees something of it to the last
  int piece_ = 0;             // that is being fetched
  std::int64_t fetched_ = 0;  // bytes of it
  bool begun_ = false;        // some keys of the unit have been seen
};

/// At least one row sees a key.
template <class V>
void gradients(const GradientTile& tile) {
  if (tile.cap == 0) {
    GradientBody<V, false>(tile).run();
  } else {
    GradientBody<V, true>(tile).run();
  }
}

/// Adds sums of 16 floats each to their totals, as gradient_at has them.
template <class V>
void fold_gradient(const float* sums, std::int64_t stride, std::int64_t count, float* total) {
  for (std::int64_t i = 0; i < count; ++i, sums += stride, total += kGradientStride) {
    GYRE_UNROLL for (int v = 0; v < kStrip; v += V::kLanes) add_compensated<V>(total + v, V::load(sums + v));
  }
}

/// Adds what another rank's units gave.
template <class V>
void add_share(std::int64_t pieces, const float* share, float* gradient) {
  fold_gradient<V>(share, kStrip, pieces, gradient);
}

/// Adds the shares of panels that have any to the keys' totals, and takes them away.
template <class V>
void fold_grad_keys(const GradientTile& tile) {
  constexpr int kPanels = GradientTile::kKeys / kPanel;
  for (int panel = 0; panel * kPanel < tile.keys; ++panel) {
    if ((tile.shared[panel / kPanels] >> panel % kPanels & 1) == 0) continue;
    const auto fold = [&](const float* share, int dims, float* total) {
      const std::int64_t vectors = round_up(dims, kStrip) / kStrip * kPanel, at = panel * vectors;
      fold_gradient<V>(share + at * kStrip, kStrip, vectors, total + at * kGradientStride);
    };
    fold(tile.value_share, tile.value_dim, tile.value_total);
    fold(tile.key_share, tile.head_dim, tile.key_total);
  }
  for (int first = 0; first < tile.keys; first += GradientTile::kKeys) tile.shared[first / GradientTile::kKeys] = 0;
}

/// Adds the unit's share to the rows' totals.
template <class V>
void fold_grad_query(const GradientTile& tile) {
  for (int s = 0; s < tile.strip_count; ++s) {
    fold_gradient<V>(tile.grad_query + s * kStrip, GradientTile::kRows, tile.head_dim, tile.strips[s].grad_query);
  }
}

}  // namespace
}  // namespace gyre
