#include "runtime/bindings/chosen.hpp"

#include <stdexcept>
#include <utility>

#include "runtime/bindings/c/errors.hpp"
#include "runtime/bindings/c/handles.hpp"
#include "runtime/bindings/c/tensors.hpp"

namespace gyre {
namespace {

TypedRows rows_of_given(const gyre_tensor* tensor, const char* name) {
  if (tensor == nullptr) throw std::invalid_argument(std::string(name) + " is null; give the address of a tensor");
  return rows_of<TypedRows>(*tensor, name);
}

gyre_mask* estimate(gyre_attention& handle, const gyre_tensor* queries, const gyre_tensor* keys, const char* sparse) {
  Problem chosen = handle.problem;
  chosen.mask = choose_pairs(handle.ranks->transport(), handle.attention, handle.problem, handle.threads, [&]() -> ChoiceOfPairs {
    if (sparse == nullptr) throw std::invalid_argument("sparse is null; give a choice, \"vertical_slash(1000,6096)\"");
    return {.sparse = sparse, .queries = rows_of_given(queries, "queries"), .keys = rows_of_given(keys, "keys")};
  });
  Bands bands = chosen.bands();
  return new gyre_mask{std::move(chosen), handle.problem.mask.text(), std::move(bands)};
}

}  // namespace
}  // namespace gyre

extern "C" {

gyre_status gyre_estimate_mask(gyre_attention* attention, const gyre_tensor* queries, const gyre_tensor* keys, const char* sparse,
                               gyre_mask** result) {
  return gyre::guarded([&] {
    gyre::require_given(attention, "gyre_attention");
    gyre::require_given(result, "result");
    *result = nullptr;
    *result = gyre::estimate(*attention, queries, keys, sparse);
  });
}

int gyre_mask_visible(const gyre_mask* mask, int64_t query, int64_t key, int32_t head) {
  return mask != nullptr && head >= 0 && head < mask->problem.query_heads && mask->bands.visible(query, key, head) ? 1 : 0;
}

double gyre_mask_pairs(const gyre_mask* mask) {
  return mask == nullptr ? 0 : mask->problem.visible_pairs();
}

void gyre_mask_free(gyre_mask* mask) {
  (void)gyre::guarded([&] { delete mask; });
}
}
