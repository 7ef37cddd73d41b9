// The body of the backward pass: a block of 64 query rows against one unit of keys, for every instruction set.
//
// Rows lie in vector lanes as in attend-inl.hpp, for everything that is a number per (key, row):
//
//   scores   S[key][row]  = sum over dims of K[key][dim] (broadcast) * Q[dim][row]
//   slopes   T[key][row]  = sum over channels of V[key][channel] (broadcast) * G[channel][row], G the gradient of the output
//   weights  P = 2^(factor S - lse),  dS = P (scale T - scale D)  (times 1 - (s / cap)^2 with a cap), in place
//   queries  dQ[dim][row] = sum over keys of K[key][dim] (broadcast) * dS[key][row]
//
// and dims in lanes for what is a row per key, from the block's queries and G transposed once into rows:
//
//   values   dV[key][channel] = sum over rows of P[key][row] (broadcast) * G[row][channel]
//   keys     dK[key][dim]     = sum over rows of dS[key][row] (broadcast) * Q[row][dim]
//
// Registers: kGroup strips (64 floats with AVX-512) by kKeys keys or kRows dims: 16 accumulators, 8 loads per 16 multiply-adds.
// Caches: of 64 keys, S and T are 16 kB each; they are made 64 dims at a time, so that what is multiplied with every key
// (64 dims of 64 rows) is 16 kB too and stays in the nearest cache; a longer sum goes through memory once every 64 dims.
//
// Order of additions. dQ: chains from zero over 32 keys, put together to the sum of (row, unit), which fold_grad_query adds to the
// row's total. dK and dV: chains from zero over 32 rows, put together to the share of (key, query cell), which fold_grad_keys adds
// to the key's total. Both totals are compensated by an addition whose error is exact whatever the operands are (Knuth): after it
// the total is the rounded sum of itself and what is lost, so that adding 0 changes neither, and a panel of keys that no row sees
// may be left out or not. (A sum from zero is never -0, so nor is a total.) An invisible pair has P = dS = 0 exactly.
//
// Cost per (key, row): 3 head_dim + 2 value_dim multiply-adds and about 13 operations, 7 of them multiply-adds; per (key, block)
// and dim 2 additions, loads and stores beside 64 multiply-adds, and per (key, query cell) and dim 7 additions, 3 loads and 3
// stores.
//
// Dao, FlashAttention-2 (2307.08691), algorithm 2.
#pragma once

#include "kernels/cpu/weights-inl.hpp"
#include "kernels/gradient_tile.hpp"

namespace gyre {
namespace {

/// total + addend, rounded, and what the rounding lost of lost + addend.
template <class V>
GYRE_INLINE void add_compensated(float* total_at, float* lost_at, typename V::Vector addend) {
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
  std::int64_t begin = 0;  // floats from the first row's first dim
  int stride = 0;          // floats from row to row
};
GYRE_INLINE Column column_of(int dim, int dims) {
  const int first = dim / kColumn * kColumn;
  return {std::int64_t{first} * GradientTile::kRows + dim % kColumn, dims - first < kColumn ? dims - first : kColumn};
}

/// Strips [dims][16] to rows, in columns; dims past the end become 0.
template <class V>
void rows_of_strips(const float* const (&strips)[GradientTile::kStrips], int count, int dims, float* rows) {
  const int stride = static_cast<int>(round_up(dims, kStrip));
  for (int s = 0; s < count; ++s) {
    for (int dim = 0; dim < stride; dim += V::kLanes) {
      for (int lane = 0; lane < kStrip; lane += V::kLanes) {
        typename V::Vector square[V::kLanes];
        if (dim + V::kLanes <= dims) {
          GYRE_UNROLL for (int i = 0; i < V::kLanes; ++i) square[i] = V::load(strips[s] + (dim + i) * kStrip + lane);
        } else {
          for (int i = 0; i < V::kLanes; ++i) {
            square[i] = dim + i < dims ? V::load(strips[s] + (dim + i) * kStrip + lane) : V::zero();
          }
        }
        V::transpose(square);
        const Column column = column_of(dim, stride);
        float* const to = rows + column.begin + (s * kStrip + lane) * column.stride;
        GYRE_UNROLL for (int i = 0; i < V::kLanes; ++i) V::store(to + i * column.stride, square[i]);
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
        multiply_dims(tile_.key, tile_.key_strip, queries, tile_.head_dim, tile_.weights + group * kWidth);
        multiply_dims(tile_.value, std::int64_t{tile_.value_dim} * kStrip, grad_outs, tile_.value_dim,
                      tile_.slopes + group * kWidth);
        weigh(group);
        multiply_keys(group);
      }
      multiply_rows(tile_.weights, tile_.grad_outs, tile_.value_dim, tile_.value_share);
      multiply_rows(tile_.slopes, tile_.queries, tile_.head_dim, tile_.key_share);
      begun_ = true;
    }
  }

 private:
  using Vector = typename V::Vector;
  static constexpr int kGroup = V::kLanes == kStrip ? GradientTile::kStrips : 1;  // strips that registers are across
  static constexpr int kWidth = kGroup * kStrip;
  static constexpr int kVectors = kWidth / V::kLanes;
  static constexpr int kAcross = GradientTile::kRows;  // floats from one key's scores to the next one's
  static constexpr int kLinesAtATime = 8;  // fetched for every kKeys keys: enough for pieces as large as 4 / 256 of the work
  static constexpr int kPanels = GradientTile::kKeys / kPanel;
  static constexpr int kPanelsOfChain = kChainKeys / kPanel;
  static constexpr int kDims = 64;  // of what is multiplied with every key: see above

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

  /// Of the kKeys keys from first_ on: panels that some row sees, and those that not all see.
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
      if ((any & all) != 0) seen_ |= 1U << panel;
      if ((every & all) != all) masked_ |= 1U << panel;
    }
  }

  /// to[key][row] = sum over dims of cell[key][dim] rows[dim][row], for panels that are seen.
  [[gnu::noinline]] void multiply_dims(const float* cell, std::int64_t cell_strip, const float* const (&rows)[kGroup], int dims,
                                       float* to) const {
    for (int begin = 0; begin < dims; begin += kDims) {
      const int end = dims < begin + kDims ? dims : begin + kDims;
      for (int panel = 0; panel < kPanels; ++panel) {
        if (!seen(panel)) continue;
        for (int key = panel * kPanel; key < (panel + 1) * kPanel; key += V::kKeys) {
          const float* const keys = cell + (first_ + key) / kStrip * cell_strip + key % kStrip;
          multiply_dims_of(keys, rows, begin, end, to + key * kAcross);
        }
      }
    }
  }

  /// kKeys keys by kGroup strips.
  [[gnu::always_inline]] inline void multiply_dims_of(const float* keys, const float* const (&rows)[kGroup], int begin, int end,
                                                      float* to) const {
    for (int dim = begin; dim < end; dim += kChainDims) {
      Vector chain[V::kKeys][kVectors];
      clear(chain);
      const int last = end < dim + kChainDims ? end : dim + kChainDims;
      for (int d = dim; d < last; ++d) {
        Vector row[kVectors];
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) row[v] =
            V::load(rows[v * V::kLanes / kStrip] + d * kStrip + v * V::kLanes % kStrip);
        GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
          const Vector broadcast = V::set1(keys[d * kStrip + i]);
          GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::fma(broadcast, row[v], chain[i][v]);
        }
      }
      GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) {
          float* const place = to + i * kAcross + v * V::kLanes;
          V::store(place, dim == 0 ? chain[i][v] : V::add(V::load(place), chain[i][v]));
        }
      }
    }
  }

  template <int Rows, int Vectors>
  GYRE_INLINE void clear(Vector (&block)[Rows][Vectors]) {
    GYRE_UNROLL for (int i = 0; i < Rows; ++i) {
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) block[i][v] = V::zero();
    }
  }

  /// Scores become weights, slopes the gradients of scores.
  [[gnu::noinline]] void weigh(int group) const {
    for (int panel = 0; panel < kPanels; ++panel) {
      if (!seen(panel)) continue;
      if ((masked_ >> panel & 1) != 0) {
        weigh_panel<true>(panel, group);
      } else {
        weigh_panel<false>(panel, group);
      }
    }
  }

  template <bool Masked>
  [[gnu::always_inline]] inline void weigh_panel(int panel, int group) const {
    for (int v = 0; v < kVectors; ++v) {
      const int row = group * kWidth + v * V::kLanes;
      const Vector log_sum_exp = V::load(tile_.row_terms + row), product = V::load(tile_.row_terms + kAcross + row);
      GYRE_UNROLL for (int i = 0; i < kPanel; ++i) {
        const int key = panel * kPanel + i;
        float* const weight_at = tile_.weights + key * kAcross + row;
        float* const slope_at = tile_.slopes + key * kAcross + row;
        Vector power, slope = V::fma(V::load(slope_at), V::set1(tile_.scale), product);
        if constexpr (Capped) {
          const Vector score = capped<V>(V::mul(V::load(weight_at), V::set1(tile_.factor)), V::set1(tile_.cap));
          const Vector share = V::mul(score, V::set1(1 / tile_.cap));
          slope = V::mul(slope, V::fma(V::sub(V::zero(), share), share, V::set1(1.0F)));
          power = V::add(score, log_sum_exp);
        } else {
          power = V::fma(V::load(weight_at), V::set1(tile_.factor), log_sum_exp);
        }
        if constexpr (Masked) power = V::select(V::lanes(tile_.visible[first_ + key] >> row), power, V::set1(kMaskedScore));
        const Vector whole = V::round(power);
        const Vector weight = V::scale(exp2_of_fraction<V>(V::sub(power, whole)), whole);
        V::store(weight_at, weight);
        V::store(slope_at, V::mul(weight, slope));
      }
    }
  }

  /// The unit's share of dQ: adds these keys'.
  [[gnu::noinline]] void multiply_keys(int group) const {
    int dim = 0;
    for (; dim + V::kRows <= tile_.head_dim; dim += V::kRows) multiply_keys_of<V::kRows>(dim, group);
    for (; dim < tile_.head_dim; ++dim) multiply_keys_of<1>(dim, group);
  }

  template <int Dims>
  [[gnu::always_inline]] inline void multiply_keys_of(int dim, int group) const {
    float* const place = tile_.grad_query + dim * kAcross + group * kWidth;
    Vector unit[Dims][kVectors];
    GYRE_UNROLL for (int i = 0; i < Dims; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) unit[i][v] = begun_ ? V::load(place + i * kAcross + v * V::kLanes) : V::zero();
    }
    for (int from = 0; from < kPanels; from += kPanelsOfChain) {
      Vector chain[Dims][kVectors];
      clear(chain);
      for (int panel = from; panel < from + kPanelsOfChain; ++panel) {
        if (!seen(panel)) continue;
        const int key = panel * kPanel;
        const float* const keys = tile_.key + (first_ + key) / kStrip * tile_.key_strip + dim * kStrip + key % kStrip;
        const float* const slopes = tile_.slopes + key * kAcross + group * kWidth;
        GYRE_UNROLL for (int k = 0; k < kPanel; ++k) {
          Vector slope[kVectors];
          GYRE_UNROLL for (int v = 0; v < kVectors; ++v) slope[v] = V::load(slopes + k * kAcross + v * V::kLanes);
          GYRE_UNROLL for (int i = 0; i < Dims; ++i) {
            const Vector broadcast = V::set1(keys[i * kStrip + k]);
            GYRE_UNROLL for (int v = 0; v < kVectors; ++v) chain[i][v] = V::fma(broadcast, slope[v], chain[i][v]);
          }
        }
      }
      GYRE_UNROLL for (int i = 0; i < Dims; ++i) {
        GYRE_UNROLL for (int v = 0; v < kVectors; ++v) unit[i][v] = V::add(unit[i][v], chain[i][v]);
      }
    }
    GYRE_UNROLL for (int i = 0; i < Dims; ++i) {
      GYRE_UNROLL for (int v = 0; v < kVectors; ++v) V::store(place + i * kAcross + v * V::kLanes, unit[i][v]);
    }
  }

  /// share[key][channel] += sum over rows of weights[key][row] rows[row][channel], for panels that are seen.
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
    const Column column = column_of(channel, stride);
    for (int panel = 0; panel < kPanels; ++panel) {
      if (!seen(panel)) continue;
      for (int key = panel * kPanel; key < (panel + 1) * kPanel; key += V::kKeys) {
        fetch();
        multiply_rows_at<Vectors>(weights + key * kAcross, rows + column.begin, column.stride, stride,
                                  share + std::int64_t{first_ + key} * stride + channel);
      }
    }
  }

  /// kKeys keys by Vectors vectors of channels.
  template <int Vectors>
  [[gnu::always_inline]] inline void multiply_rows_at(const float* weights, const float* rows, int row_stride, int stride,
                                                      float* share) const {
    GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
      for (int line = 0; line < Vectors * V::kLanes; line += kStrip) __builtin_prefetch(share + i * stride + line, 1);
    }
    const int count = tile_.strip_count * kStrip;
    for (int begin = 0; begin < count; begin += kChainKeys) {
      Vector chain[V::kKeys][Vectors];
      clear(chain);
      const int end = count < begin + kChainKeys ? count : begin + kChainKeys;
      for (int r = begin; r < end; ++r) {
        Vector row[Vectors];
        GYRE_UNROLL for (int v = 0; v < Vectors; ++v) row[v] = V::load(rows + r * row_stride + v * V::kLanes);
        GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
          const Vector broadcast = V::set1(weights[i * kAcross + r]);
          GYRE_UNROLL for (int v = 0; v < Vectors; ++v) chain[i][v] = V::fma(broadcast, row[v], chain[i][v]);
        }
      }
      GYRE_UNROLL for (int i = 0; i < V::kKeys; ++i) {
        GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
          float* const place = share + i * stride + v * V::kLanes;
          V::store(place, V::add(V::load(place), chain[i][v]));
        }
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

template <class V>
void fold_grad_keys(std::int64_t count, float* share, float* total, float* lost) {
  for (std::int64_t i = 0; i < count; i += V::kLanes) {
    add_compensated<V>(total + i, lost + i, V::load(share + i));
    V::store(share + i, V::zero());
  }
}

/// Adds the unit's share to the rows' totals.
template <class V>
void fold_grad_query(const GradientTile& tile) {
  for (int s = 0; s < tile.strip_count; ++s) {
    float* const total = tile.strips[s].grad_query;
    float* const lost = total + tile.head_dim * kStrip;
    for (int dim = 0; dim < tile.head_dim; ++dim) {
      const float* const unit = tile.grad_query + dim * GradientTile::kRows + s * kStrip;
      for (int v = 0; v < kStrip; v += V::kLanes) {
        add_compensated<V>(total + dim * kStrip + v, lost + dim * kStrip + v, V::load(unit + v));
      }
    }
  }
}

}  // namespace
}  // namespace gyre
