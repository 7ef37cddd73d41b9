// AVX-512 with its instructions on pairs of bf16. The bodies are those of attend-inl.hpp and gradient-inl.hpp, the operations
// vec.hpp's.
#include "kernels/cpu/table-inl.hpp"

namespace gyre {

constinit const KernelTable kAvx512Bf16Kernels = table_of<Avx512, Avx512Bf16, Avx2>("avx512bf16");

}  // namespace gyre
