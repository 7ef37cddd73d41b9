// Any processor. The body is attend-inl.hpp's, the operations vec.hpp's.
#include "kernels/cpu/attend-inl.hpp"

namespace gyre {

constinit const KernelTable kPortableKernels = table_of<Portable, Portable, Portable>("portable");

}  // namespace gyre
