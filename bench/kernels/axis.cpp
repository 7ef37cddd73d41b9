#include "bench/kernels/axis.hpp"

#include <cmath>

#include "bench/kernels/drawn.hpp"
#include "kernels/columns.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/row_order.hpp"
#include "partition/cuts.hpp"

namespace gyre::bench {
namespace {

/// As a job of one rank has it.
ResidueChoice order_of(const Shape& shape, const Bands& bands) {
  const std::int64_t given = shape.unit_tokens;
  const std::vector<UnitTokens> lengths =
      given > 0 ? std::vector<UnitTokens>{{.queries = given, .keys = given}}
                : unit_choices(shape.keys, shape.keys, 1, unit_tokens_for_columns(bands), kLongestUnit);
  if (shape.token_order || shape.alibi || shape.dropout > 0) return {.order = {}, .units = lengths.front()};
  return choose_residues(bands, {shape.first_query(), shape.keys}, {0, shape.keys}, shape.group, lengths);
}

/// The axis begins at position `first`.
Units units_of(const Shape& shape, const Mask& mask, std::int64_t unit_tokens, std::int64_t first) {
  std::vector<std::int64_t> cuts = cuts_of_documents(mask.borders(), mask.bands(), unit_tokens);
  for (std::int64_t& cut : cuts) cut -= first;
  return Units(shape.keys - first, unit_tokens, cuts);
}

}  // namespace

Axis::Axis(const Shape& shape)
    : mask(Mask::parse(shape.mask, drawn_files(shape))),
      bands(mask.bands_at(shape.first_query())),
      order(order_of(shape, bands)),
      key_units(units_of(shape, mask, order.units.keys, 0)),
      query_units(units_of(shape, mask, order.units.queries, shape.first_query())) {
  mask.require_key_tokens(shape.keys);
  mask.require_tables(shape.query_tokens(), shape.keys, shape.query_heads());
}

double Axis::pairs(const Shape& shape) const {
  const int alike = shape.query_heads() / bands.heads();
  return static_cast<double>(bands.count({shape.first_query(), shape.keys}, {0, shape.keys})) * alike;
}

CellShape cell_shape_of(const Shape& shape, const Axis& axis) {
  return {.head_dim = shape.head_dim,
          .value_dim = shape.value_dims(),
          .group = shape.group,
          .rows = shape.token_order ? RowOrder::by_token : row_order_for(axis.bands, shape.group),
          .residues = axis.order.order,
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
