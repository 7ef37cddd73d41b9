// Any processor. The bodies are those of attend-inl.hpp and gradient-inl.hpp, the operations vec.hpp's.
#include "kernels/cpu/table-inl.hpp"

namespace gyre {

constinit const KernelTable kPortableKernels = table_of<Portable, Portable, Portable>("portable");

}  // namespace gyre
