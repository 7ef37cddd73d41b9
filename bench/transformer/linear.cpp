#include "bench/transformer/linear.hpp"

#include <cblas.h>

namespace gyre::transformer {
namespace {

/// c (+)= a b, [m, n] of [m, k] and [k, n], where a and b may be stored the other way round.
struct Product {
  CBLAS_TRANSPOSE a = CblasNoTrans, b = CblasNoTrans;
  std::int64_t m = 0, n = 0, k = 0;
  Into into = Into::overwrite;
};

template <class Real>
void multiply(const Product& product, const Real* a, const Real* b, Real* c) {
  const int m = static_cast<int>(product.m), n = static_cast<int>(product.n), k = static_cast<int>(product.k);
  if (m == 0 || n == 0 || (k == 0 && product.into == Into::add)) return;
  const int a_stride = product.a == CblasNoTrans ? k : m, b_stride = product.b == CblasNoTrans ? n : k;
  const Real beta = product.into == Into::add ? 1 : 0;
  if constexpr (sizeof(Real) == 4)
    cblas_sgemm(CblasRowMajor, product.a, product.b, m, n, k, 1, a, a_stride, b, b_stride, beta, c, n);
  else
    cblas_dgemm(CblasRowMajor, product.a, product.b, m, n, k, 1, a, a_stride, b, b_stride, beta, c, n);
}

}  // namespace

void use_blas_threads([[maybe_unused]] int threads) {
#ifdef GYRE_OPENBLAS_THREADS
  openblas_set_num_threads(threads);
#endif
}

template <class Real>
void linear(const LinearShape& shape, const Real* x, const Real* weight, Real* y, Into into) {
  multiply({.b = CblasTrans, .m = shape.rows, .n = shape.outputs, .k = shape.inputs, .into = into}, x, weight, y);
}

template <class Real>
void linear_backward(const LinearShape& shape, const Real* x, const Real* weight, const Real* grad_y, Real* grad_x, Into into,
                     Real* grad_weight) {
  multiply({.m = shape.rows, .n = shape.inputs, .k = shape.outputs, .into = into}, grad_y, weight, grad_x);
  multiply({.a = CblasTrans, .m = shape.outputs, .n = shape.inputs, .k = shape.rows, .into = Into::add}, grad_y, x, grad_weight);
}

template void linear(const LinearShape&, const float*, const float*, float*, Into);
template void linear(const LinearShape&, const double*, const double*, double*, Into);
template void linear_backward(const LinearShape&, const float*, const float*, const float*, float*, Into, float*);
template void linear_backward(const LinearShape&, const double*, const double*, const double*, double*, Into, double*);

}  // namespace gyre::transformer
