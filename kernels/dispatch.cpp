#include "kernels/dispatch.hpp"

#include <stdexcept>

#include "kernels/cpu/tables.hpp"

namespace gyre {

std::vector<const KernelTable*> available_kernels() {
  std::vector<const KernelTable*> available;
#if GYRE_X86_64_KERNELS
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("fma");
  if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    if (__builtin_cpu_supports("avx512bf16")) available.push_back(&kAvx512Bf16Kernels);
    available.push_back(&kAvx512Kernels);
  }
  if (fma && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) available.push_back(&kAvx2Kernels);
#endif
  available.push_back(&kPortableKernels);
  return available;
}

const KernelTable& select_kernels(std::string_view name) {
  std::string names;
  for (const KernelTable* kernels : available_kernels()) {
    if (name.empty() || name == kernels->name) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("instruction set '" + std::string(name) + "' is not available: this build on this processor has " +
                              names + "; take one of them or leave the choice to gyre");
}

}  // namespace gyre
