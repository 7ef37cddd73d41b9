#include <optional>

#include "runtime/bindings/c/errors.hpp"
#include "runtime/bindings/c/handles.hpp"
#include "runtime/bindings/c/structs.hpp"
#include "runtime/bindings/c/tensors.hpp"

namespace gyre {
namespace {

// Of version 1 of gyre.h.
constexpr std::size_t kFirstTensor = 48, kFirstOperands = 16 + 4 * kFirstTensor, kFirstGradientOperands = 16 + 8 * kFirstTensor,
                      kFirstCallTime = 56;
static_assert(sizeof(gyre_tensor) == kFirstTensor, "it lies inside other structs and cannot grow");
static_assert(sizeof(gyre_operands) >= kFirstOperands && sizeof(gyre_gradient_operands) >= kFirstGradientOperands &&
              sizeof(gyre_call_time) >= kFirstCallTime);

Operands operands_of(const gyre_operands* given) {
  const gyre_operands ours = known(given, kFirstOperands, "gyre_operands");
  return {.queries = rows_of<TypedRows>(ours.queries, "queries"),
          .keys = rows_of<TypedRows>(ours.keys, "keys"),
          .values = rows_of<TypedRows>(ours.values, "values"),
          .out = rows_of<TypedOutRows>(ours.out, "out"),
          .lse = ours.lse,
          .sinks = ours.sinks};
}

GradientOperands operands_of(const gyre_gradient_operands* given) {
  const gyre_gradient_operands ours = known(given, kFirstGradientOperands, "gyre_gradient_operands");
  return {.queries = rows_of<TypedRows>(ours.queries, "queries"),
          .keys = rows_of<TypedRows>(ours.keys, "keys"),
          .values = rows_of<TypedRows>(ours.values, "values"),
          .out = rows_of<TypedRows>(ours.out, "out"),
          .lse = ours.lse,
          .grad_out = rows_of<TypedRows>(ours.grad_out, "grad_out"),
          .grad_queries = rows_of<TypedOutRows>(ours.grad_queries, "grad_queries"),
          .grad_keys = rows_of<TypedOutRows>(ours.grad_keys, "grad_keys"),
          .grad_values = rows_of<TypedOutRows>(ours.grad_values, "grad_values"),
          .sinks = ours.sinks,
          .grad_sinks = ours.grad_sinks};
}

CallTime call(Attention& attention, const Operands& operands) {
  return attention.forward(operands);
}
CallTime call(Attention& attention, const GradientOperands& operands) {
  return attention.backward(operands);
}

/// Where this rank finds something wrong before the others can know, it takes part in their call to tell them.
template <class Convert>
void run(gyre_attention* handle, gyre_call_time* time, Convert&& convert) {
  require_given(handle, "gyre_attention");
  std::optional<decltype(convert())> operands;
  try {
    operands = convert();
    if (time != nullptr) require_size(time->size, kFirstCallTime, "gyre_call_time");
  } catch (const std::invalid_argument& error) {
    handle->attention.refuse(error.what());
  }
  const CallTime took = call(handle->attention, *operands);
  if (time == nullptr) return;
  tell({.size = 0,
        .total_seconds = took.total_seconds,
        .computing_seconds = took.computing_seconds,
        .packing_seconds = took.packing_seconds,
        .communicating_seconds = took.communicating_seconds,
        .waiting_seconds = took.waiting_seconds,
        .integrity_seconds = took.integrity_seconds},
       time, kFirstCallTime, "gyre_call_time");
}

}  // namespace
}  // namespace gyre

extern "C" {

gyre_status gyre_forward(gyre_attention* attention, const gyre_operands* operands, gyre_call_time* time) {
  return gyre::guarded([&] { gyre::run(attention, time, [&] { return gyre::operands_of(operands); }); });
}

gyre_status gyre_backward(gyre_attention* attention, const gyre_gradient_operands* operands, gyre_call_time* time) {
  return gyre::guarded([&] { gyre::run(attention, time, [&] { return gyre::operands_of(operands); }); });
}
}
