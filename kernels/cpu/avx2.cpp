// AVX2 with fused multiply-add. The bodies are those of attend-inl.hpp and gradient-inl.hpp, the operations vec.hpp's.
#include "kernels/cpu/table-inl.hpp"

namespace gyre {

constinit const KernelTable kAvx2Kernels = table_of<Avx2, Avx2, Avx2>("avx2");

}  // namespace gyre
