// The table of an instruction set from its vectors: V of fp32, Pairs of what it multiplies pairs with (V: it has none); Narrow, of
// fp32 with at most kChannels lanes, for expanding cells.
#pragma once

#include "kernels/cpu/attend-inl.hpp"
#include "kernels/cpu/combine-inl.hpp"
#include "kernels/cpu/expand-inl.hpp"
#include "kernels/cpu/few-inl.hpp"
#include "kernels/cpu/gradient-inl.hpp"
#include "kernels/cpu/peak-inl.hpp"
#include "kernels/cpu/products-inl.hpp"
#include "kernels/cpu/tables.hpp"
#include "kernels/cpu/turn-inl.hpp"

namespace gyre {
namespace {

template <class V, class Pairs, class Narrow>
constexpr KernelTable table_of(const char* name) {
  KernelTable table{.name = name,
                    .strips_per_block = V::kStrips,
                    .most_few_rows = V::kLanes == kStrip ? kMostFewRows : kMostFewRows / 2,
                    .attend = attend_tile<V>,
                    .attend_pairs = nullptr,
                    .attend_few = attend_few<V>,
                    .attend_few_pairs = nullptr,
                    .fold_few = fold_few<V>,
                    .combine = combine_strips<V>,
                    .gradients = gradients<V>,
                    .gradients_pairs = nullptr,
                    .fold_grad_query = fold_grad_query<V>,
                    .fold_grad_keys = fold_grad_keys<V>,
                    .add_share = add_share<V>,
                    .expand = expand<Narrow>,
                    .products = products<V>,
                    .turn = turn,
                    .turn_on = turn_on,
                    .peak_flops = peak_flops<V>,
                    .pairs_peak_flops = nullptr};
  if constexpr (Pairs::kPair > 1) {
    table.attend_pairs = attend_tile<Pairs>;
    table.attend_few_pairs = attend_few<Pairs>;
    table.gradients_pairs = gradients<Pairs>;
    table.pairs_peak_flops = peak_flops<Pairs>;
  }
  return table;
}

}  // namespace
}  // namespace gyre
