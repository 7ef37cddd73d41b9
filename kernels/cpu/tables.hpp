// The tables of all instruction sets, one file of this folder each. Only dispatch.cpp decides which of them may be called.
#pragma once

#include "kernels/dispatch.hpp"

namespace gyre {

extern const KernelTable kPortableKernels;
extern const KernelTable kAvx2Kernels;        // x86-64 builds only
extern const KernelTable kAvx512Kernels;      // x86-64 builds only
extern const KernelTable kAvx512Bf16Kernels;  // x86-64 builds only

}  // namespace gyre
