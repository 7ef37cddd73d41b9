// gyre.NativeSparseAttention.
#pragma once

#include <nanobind/nanobind.h>

namespace gyre::python {

void bind_native_attention(nanobind::module_& module);

}  // namespace gyre::python
