#include "kernels/dispatch.hpp"

#if GYRE_X86_64_KERNELS
#include <cpuid.h>
#endif

#include <stdexcept>

#include "kernels/cpu/tables.hpp"

namespace gyre {
namespace {

#if GYRE_X86_64_KERNELS
/// By hand, because clang++ before 15 cannot be asked for f16c by name.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

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
  if (fma && __builtin_cpu_supports("avx2") && has_f16c()) available.push_back(&kAvx2Kernels);
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
