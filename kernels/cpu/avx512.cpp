// AVX-512. The body is attend-inl.hpp's, the operations vec.hpp's.
#include "kernels/cpu/attend-inl.hpp"

namespace gyre {

constinit const KernelTable kAvx512Kernels = table_of<Avx512, Avx512, Avx2>("avx512");

}  // namespace gyre
