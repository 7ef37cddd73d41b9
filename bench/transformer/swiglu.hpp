// The gated unit of the feed-forward (Shazeer 2020, 2002.05202): y = silu(gate) up, silu(a) = a / (1 + exp(-a)), element by
// element.
#pragma once

#include <cstdint>

namespace gyre::transformer {

template <class Real>
void swiglu(std::int64_t elements, const Real* gate, const Real* up, Real* y);

template <class Real>
void swiglu_backward(std::int64_t elements, const Real* gate, const Real* up, const Real* grad_y, Real* grad_gate, Real* grad_up);

}  // namespace gyre::transformer
