#include "bench/kernels/axis.hpp"

#include <cmath>

#include "bench/kernels/drawn.hpp"
#include "kernels/columns.hpp"
#include "kernels/row_order.hpp"
#include "partition/cuts.hpp"

namespace gyre::bench {
namespace {

std::int64_t unit_tokens_of(const Shape& shape, const Mask& mask) {
  return shape.unit_tokens > 0 ? shape.unit_tokens : default_unit_tokens(shape.keys, 1, unit_tokens_for_columns(mask.bands()));
}

/// The axis begins at position `first`.
Units units_of(const Shape& shape, const Mask& mask, std::int64_t first) {
  const std::int64_t length = unit_tokens_of(shape, mask);
  std::vector<std::int64_t> cuts = cuts_of_documents(mask.borders(), mask.bands(), length);
  for (std::int64_t& cut : cuts) cut -= first;
  return Units(shape.keys - first, length, cuts);
}

}  // namespace

Axis::Axis(const Shape& shape)
    : mask(Mask::parse(shape.mask, drawn_files(shape))),
      bands(mask.bands_at(shape.first_query())),
      key_units(units_of(shape, mask, 0)),
      query_units(units_of(shape, mask, shape.first_query())) {
  mask.require_key_tokens(shape.keys);
  mask.require_tables(shape.query_tokens(), shape.keys, shape.query_heads());
}

double Axis::pairs(const Shape& shape) const {
  const int alike = shape.query_heads() / bands.heads();
  return static_cast<double>(bands.count({shape.first_query(), shape.keys}, {0, shape.keys})) * alike;
}

CellShape cell_shape_of(const Shape& shape, const Bands& bands) {
  return {.head_dim = shape.head_dim,
          .value_dim = shape.value_dims(),
          .group = shape.group,
          .rows = shape.token_order ? RowOrder::by_token : row_order_for(bands, shape.group),
          .type = shape.type};
}

ScoreRule score_of(const Shape& shape) {
  ScoreRule rule{.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim))};
  if (shape.softcap != 0) rule.softcap = shape.softcap;
  if (shape.alibi) rule.slopes = alibi_slopes(shape.query_heads());
  if (shape.dropout > 0) rule.dropout = {.probability = shape.dropout, .seed = 1};
  return rule;
}

}  // namespace gyre::bench
