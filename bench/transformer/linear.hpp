// y = x W^T by a BLAS. Row-major, dense.
#pragma once

#include <cstdint>

namespace gyre::transformer {

/// Threads of this process that products may use, where the BLAS lets us say so (OpenBLAS). Its default is all cores: too many
/// where every rank takes them.
void use_blas_threads(int threads);

struct LinearShape {
  std::int64_t rows = 0;
  int inputs = 0, outputs = 0;
};

/// Whether a result replaces what is there or is added to it.
enum class Into : std::uint8_t { overwrite, add };

/// x: [rows, inputs]; weight: [outputs, inputs]; y: [rows, outputs].
template <class Real>
void linear(const LinearShape& shape, const Real* x, const Real* weight, Real* y, Into into = Into::overwrite);

/// grad_x: [rows, inputs]; grad_weight, which is added to: [outputs, inputs].
template <class Real>
void linear_backward(const LinearShape& shape, const Real* x, const Real* weight, const Real* grad_y, Real* grad_x, Into into,
                     Real* grad_weight);

}  // namespace gyre::transformer
