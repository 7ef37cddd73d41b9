// Tensors of callers as rows.
#pragma once

#include <stdexcept>
#include <string>

#include "kernels/tensor.hpp"
#include "runtime/bindings/c/gyre.h"

namespace gyre {

/// Throws std::invalid_argument that names the field. Rows: TypedRows or TypedOutRows.
template <class Rows>
Rows rows_of(const gyre_tensor& tensor, const char* name) {
  if (tensor.dtype < GYRE_F32 || tensor.dtype > GYRE_F16)
    throw std::invalid_argument(std::string(name) + ".dtype is " + std::to_string(static_cast<int>(tensor.dtype)) +
                                "; give GYRE_F32, GYRE_BF16 or GYRE_F16");
  if (tensor.reserved != 0)
    throw std::invalid_argument(std::string(name) + ".reserved is not 0; set the whole struct to zero first");
  Rows rows(tensor.data, static_cast<Type>(tensor.dtype), tensor.tokens, tensor.heads, tensor.dim);
  if (tensor.token_stride != 0) rows.token_stride = tensor.token_stride;
  if (tensor.head_stride != 0) rows.head_stride = tensor.head_stride;
  return rows;
}

}  // namespace gyre
