// gyre.Attention.
#pragma once

#include <nanobind/nanobind.h>

namespace gyre::python {

void bind_attention(nanobind::module_& module);

}  // namespace gyre::python
