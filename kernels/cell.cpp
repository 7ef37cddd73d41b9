#include "kernels/cell.hpp"

#include <stdexcept>

namespace gyre {

namespace {

/// Without the trailer.
std::int64_t part_bytes(Role role, CellShape shape, std::int64_t tokens) {
  shape.integrity = Integrity::unchecked;
  return cell_bytes(role, shape, tokens);
}

}  // namespace

std::int64_t grad_out_offset(const CellShape& shape, std::int64_t tokens) {
  return part_bytes(Role::query, shape, tokens);
}

std::int64_t row_statistics_offset(const CellShape& shape, std::int64_t tokens) {
  return grad_out_offset(shape, tokens) + part_bytes(Role::grad_out, shape, tokens);
}

std::int64_t cell_bytes(Role role, const CellShape& shape, std::int64_t tokens) {
  const std::int64_t bytes = type_bytes(shape.type);
  const std::int64_t trailer = shape.integrity == Integrity::checked && tokens > 0 ? kTrailerBytes : 0;
  switch (role) {
    case Role::query:
      return shape.forms * query_form_elements(shape, tokens) * bytes + trailer;
    case Role::key_value:
      return (value_offset_elements(shape, tokens) + round_up(tokens, kStrip) * round_up(shape.value_dim, kChannels)) * bytes +
             trailer;
    case Role::partial:
      return query_strips(shape, tokens) * partial_strip_floats(shape) * std::int64_t{sizeof(float)};
    case Role::result:
      return query_strips(shape, tokens) * result_strip_floats(shape) * std::int64_t{sizeof(float)} + trailer;
    case Role::backward_query:
      return row_statistics_offset(shape, tokens) + part_bytes(Role::row_statistics, shape, tokens) + trailer;
    case Role::grad_query_share:
      return shape.forms * query_strips(shape, tokens) * kStrip * shape.head_dim * std::int64_t{sizeof(float)} + trailer;
    case Role::grad_key_value_share:
      return grad_sums_floats(shape, tokens) * std::int64_t{sizeof(float)} + trailer;
    case Role::grad_out:
      return query_strips(shape, tokens) * query_strip_elements(grad_out_shape(shape)) * bytes;
    case Role::row_statistics:
      return query_strips(shape, tokens) * 2 * kStrip * std::int64_t{sizeof(float)};
    case Role::grad_query:
      return shape.forms * grad_query_form_bytes(shape, tokens);
    case Role::grad_key_value:
      return 2 * grad_sums_floats(shape, tokens) * std::int64_t{sizeof(float)};
    case Role::rows:
      break;
  }
  throw std::invalid_argument(
      "cells hold queries, keys and values, partials, results, or gradients: the caller's rows have none, ask for another role");
}

}  // namespace gyre
