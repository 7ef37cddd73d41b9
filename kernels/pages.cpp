#include "kernels/pages.hpp"

#include <cstdlib>
#include <new>

#include <sys/mman.h>

#include "kernels/cell.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr std::int64_t kLargePage = std::int64_t{2} << 20;

}  // namespace

void FreePages::operator()(std::byte* memory) const {
  std::free(memory);
}

CellMemory allocate_cells(std::int64_t bytes) {
  const std::int64_t page = bytes > kLargePage ? kLargePage : kPage;
  const auto size = static_cast<std::size_t>(round_up(bytes, kPage) + kPage);
  void* const memory = std::aligned_alloc(static_cast<std::size_t>(page), size);
  if (memory == nullptr) throw std::bad_alloc();
  if (page == kLargePage) ::madvise(memory, size, MADV_HUGEPAGE);
  return CellMemory(static_cast<std::byte*>(memory));
}

}  // namespace gyre
