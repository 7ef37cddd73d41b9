// The table of an instruction set from its vectors: V of fp32, Pairs of what it multiplies pairs with (V: it has none), Narrow of
// at most 8 lanes for 16-bit cells.
#pragma once

#include "kernels/cpu/attend-inl.hpp"
#include "kernels/cpu/expand-inl.hpp"
#include "kernels/cpu/gradient-inl.hpp"

namespace gyre {
namespace {

template <class V, class Pairs, class Narrow>
constexpr KernelTable table_of(const char* name) {
  KernelTable table{.name = name,
                    .strips_per_block = V::kStrips,
                    .attend = attend_tile<V>,
                    .attend_pairs = nullptr,
                    .gradients = gradients<V>,
                    .fold_grad_query = fold_grad_query<V>,
                    .expand = expand<Narrow>,
                    .peak_flops = peak_flops<V>,
                    .pairs_peak_flops = nullptr};
  if constexpr (Pairs::kPair > 1) table.attend_pairs = attend_tile<Pairs>, table.pairs_peak_flops = peak_flops<Pairs>;
  return table;
}

}  // namespace
}  // namespace gyre
