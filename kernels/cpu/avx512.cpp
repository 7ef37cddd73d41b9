// AVX-512. The bodies are those of attend-inl.hpp and gradient-inl.hpp, the operations vec.hpp's.
#include "kernels/cpu/table-inl.hpp"

namespace gyre {

constinit const KernelTable kAvx512Kernels = table_of<Avx512, Avx512, Avx2>("avx512");

}  // namespace gyre
