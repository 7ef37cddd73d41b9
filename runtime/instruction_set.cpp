#include "runtime/instruction_set.hpp"

#include "comm/agreement.hpp"

namespace gyre {

const KernelTable& agree_on_kernels(Transport& transport, const std::string& name) {
  const auto available = available_kernels();  // lists of ranks differ only in how far up they reach
  const auto common = static_cast<std::size_t>(minimum_over_ranks(transport, static_cast<double>(available.size())));
  const KernelTable* chosen = available[available.size() - common];
  together(transport, [&] {
    if (!name.empty()) chosen = &select_kernels(name);
  });
  return *chosen;
}

}  // namespace gyre
