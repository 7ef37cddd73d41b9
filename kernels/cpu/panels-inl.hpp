// Which panels of 8 keys the rows of a block see, and so which are left out.
#pragma once

#include "kernels/cpu/vec.hpp"
#include "kernels/cpu/weights-inl.hpp"
#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

/// Of a chain of products.
template <class V>
constexpr int panels_of_chain() {
  return chain_rows<V>() * V::kPair / kPanel;
}

/// For Vectors vectors of a tile's rows. Where V does not tell them apart, all have what one of them sees.
template <class V, int Vectors>
struct Panels {
  static constexpr int kOfChain = panels_of_chain<V>();
  static constexpr unsigned kWholeChain = (1U << kOfChain) - 1;
  using Chain = std::uint16_t;  // its panels, a bit each
  static_assert(kOfChain <= 16);

  int chain_count = 0;
  bool any = false;                                // seen by some row
  bool alike = true;                               // all vectors see the same ones
  Chain seen[Vectors][kLongestUnit / kChainKeys];  // by some row of the vector
  Chain whole[kLongestUnit / kChainKeys];          // every key by every row

  /// shift: bit of the visibility words that is the first row's.
  Panels(const Tile& tile, int shift) {
    const int panels = (tile.keys + kPanel - 1) / kPanel;
    chain_count = (panels + kOfChain - 1) / kOfChain;
    for (int chain = 0; chain < chain_count; ++chain) {
      const int first = chain * kOfChain;
      const int count = first + kOfChain < panels ? kOfChain : panels - first;
      whole[chain] = static_cast<Chain>((1U << count) - 1);
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) seen[v][chain] = whole[chain];
      if (tile.visible != nullptr) look(tile.visible + first * kPanel, shift, count, chain);
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
        any |= seen[v][chain] != 0;
        alike &= seen[v][chain] == seen[0][chain];
      }
    }
  }

  bool sees(int v, int panel) const { return (seen[v][panel / kOfChain] >> panel % kOfChain & 1) != 0; }
  bool all_see_whole(int panel) const { return (whole[panel / kOfChain] >> panel % kOfChain & 1) != 0; }
  bool any_of(int v) const {
    unsigned of_all = 0;
    for (int chain = 0; chain < chain_count; ++chain) of_all |= seen[v][chain];
    return of_all != 0;
  }

 private:
  void look(const std::uint64_t* visible, int shift, int count, int chain) {
    constexpr std::uint64_t kLanes = (std::uint64_t{1} << V::kLanes) - 1;
    unsigned by_all = 0;
    unsigned by_some[Vectors] = {};
    for (int panel = 0; panel < count; ++panel, visible += kPanel) {
      std::uint64_t some = 0, every = ~some;
      for (int i = 0; i < kPanel; ++i) some |= visible[i] >> shift, every &= visible[i] >> shift;
      unsigned vectors = 0;  // vectors that see it, a bit each
      bool all = true;
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) {
        vectors |= unsigned{(some >> v * V::kLanes & kLanes) != 0} << v;
        all &= (every >> v * V::kLanes & kLanes) == kLanes;
      }
      if (!V::kTellsApart && vectors != 0) vectors = ~0U;
      GYRE_UNROLL for (int v = 0; v < Vectors; ++v) by_some[v] |= (vectors >> v & 1) << panel;
      by_all |= unsigned{all} << panel;
    }
    whole[chain] = static_cast<Chain>(by_all);
    GYRE_UNROLL for (int v = 0; v < Vectors; ++v) seen[v][chain] = static_cast<Chain>(by_some[v]);
  }
};

}  // namespace
}  // namespace gyre
