#include "bench/transformer/swiglu.hpp"

#include <cmath>

namespace gyre::transformer {

template <class Real>
void swiglu(std::int64_t elements, const Real* gate, const Real* up, Real* y) {
  for (std::int64_t element = 0; element < elements; ++element)
    y[element] = gate[element] / (1 + std::exp(-gate[element])) * up[element];
}

template <class Real>
void swiglu_backward(std::int64_t elements, const Real* gate, const Real* up, const Real* grad_y, Real* grad_gate, Real* grad_up) {
  for (std::int64_t element = 0; element < elements; ++element) {
    const Real sigmoid = 1 / (1 + std::exp(-gate[element]));
    grad_up[element] = grad_y[element] * gate[element] * sigmoid;
    grad_gate[element] = grad_y[element] * up[element] * sigmoid * (1 + gate[element] * (1 - sigmoid));
  }
}

template void swiglu(std::int64_t, const float*, const float*, float*);
template void swiglu(std::int64_t, const double*, const double*, double*);
template void swiglu_backward(std::int64_t, const float*, const float*, const float*, float*, float*);
template void swiglu_backward(std::int64_t, const double*, const double*, const double*, double*, double*);

}  // namespace gyre::transformer
