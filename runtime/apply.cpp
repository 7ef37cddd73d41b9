#include "runtime/apply.hpp"

#include <stdexcept>

#include "kernels/gradient.hpp"
#include "kernels/pack.hpp"
#include "kernels/result.hpp"

namespace gyre {
namespace {

void pack_queries(const CellShape& shape, const Turned& turned, const CallOperands& operands, const RowCell& c, std::byte* cell) {
  const int head = c.cell.name.head;
  if (const Operands* const of = operands.forward) return pack_query(shape, of->queries, c.first_row, c.tokens, head, cell, turned);
  const GradientOperands& of = *operands.backward;
  pack_backward_query(shape, of.queries, of.grad_out, of.out, of.lse, c.first_row, c.tokens, head, cell, turned);
}

void pack_keys(const CellShape& shape, const Turned& turned, const CallOperands& operands, const RowCell& c, std::byte* cell) {
  const bool forward = operands.forward != nullptr;
  pack_key_value(shape, forward ? operands.forward->keys : operands.backward->keys,
                 forward ? operands.forward->values : operands.backward->values, c.first_row, c.tokens, c.cell.name.head, cell,
                 turned);
}

/// To the caller's rows.
void finish(const CellShape& shape, const Turned& turned, const CallOperands& operands, const RowCell& c, const std::byte* cell) {
  const auto [role, unit, head] = c.cell.name;
  switch (role) {
    case Role::partial:
      return finish_partial(shape, cell, c.tokens, head, operands.forward->out, operands.forward->lse, c.first_row,
                            operands.forward->sinks);
    case Role::result:
      return finish_result(shape, cell, c.tokens, head, operands.forward->out, operands.forward->lse, c.first_row,
                           operands.forward->sinks);
    case Role::grad_query:
      return finish_grad_query(shape, cell, c.tokens, head, operands.backward->grad_queries, c.first_row, turned);
    case Role::grad_query_share:
      return finish_grad_query_share(shape, cell, c.tokens, head, operands.backward->grad_queries, c.first_row, turned);
    case Role::grad_key_value:
      return finish_grad_key_value(shape, cell, c.tokens, head, operands.backward->grad_keys, operands.backward->grad_values,
                                   c.first_row, turned);
    case Role::grad_key_value_share:
      return finish_grad_key_value_share(shape, cell, c.tokens, head, operands.backward->grad_keys, operands.backward->grad_values,
                                         c.first_row, turned);
    default:
      throw std::logic_error("a cell is to be finished whose role has no rows");
  }
}

}  // namespace

void apply_to_cell(Function function, const KernelTable& kernels, const CellShape& shape, const Positions& positions,
                   const CallOperands& operands, const RowCell& row_cell, std::byte* place) {
  const Role role = row_cell.cell.name.role;
  const Turned turned = of_keys(role) ? positions.of_keys(row_cell.position) : positions.of_queries(row_cell.position);
  const std::byte* const from = row_cell.from.bytes.data();
  switch (function) {
    case Function::pack_query:
      return pack_queries(shape, turned, operands, row_cell, place);
    case Function::pack_key_value:
      return pack_keys(shape, turned, operands, row_cell, place);
    case Function::clear:
      return role == Role::partial ? clear_partial(shape, row_cell.tokens, place)
                                   : clear_gradient(role, shape, row_cell.tokens, place);
    case Function::settle:
      return role == Role::result ? settle_partial(shape, from, row_cell.tokens, place)
                                  : settle_gradient(row_cell.from.name.role, shape, row_cell.tokens, from, place);
    case Function::finish:
      return finish(shape, turned, operands, row_cell, place);
    case Function::none:
      return role == Role::partial ? combine(kernels, shape, row_cell.tokens, from, place)
                                   : add_share(kernels, role, shape, row_cell.tokens, from, place);
  }
}

}  // namespace gyre
