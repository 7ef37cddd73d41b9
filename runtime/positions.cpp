#include "runtime/positions.hpp"

namespace gyre {

Positions::Positions(const Problem& problem, const KernelTable& kernels) : dual_chunk_(problem.dual_chunk) {
  if (problem.rotary) table_.emplace(*problem.rotary, problem.head_dim, kernels);
}

Turned Positions::of_queries(std::int64_t position) const {
  if (!table_) return {};
  if (dual_chunk_) return {.table = &*table_, .stretches = dual_chunk_->queries(position)};
  return {.table = &*table_, .stretches = {Stretch{.first = position}}};
}

Turned Positions::of_keys(std::int64_t position) const {
  if (!table_) return {};
  return {.table = &*table_, .stretches = {dual_chunk_ ? dual_chunk_->keys(position) : Stretch{.first = position}}};
}

}  // namespace gyre
