// AVX2 with fused multiply-add. The body is attend-inl.hpp's, the operations vec.hpp's.
#include "kernels/cpu/attend-inl.hpp"

namespace gyre {

constinit const KernelTable kAvx2Kernels = table_of<Avx2, Avx2, Avx2>("avx2");

}  // namespace gyre
