#include "runtime/memory.hpp"

#include <cstdlib>
#include <new>

#include "kernels/cell.hpp"

namespace gyre {

std::shared_ptr<std::byte[]> make_arena(std::int64_t bytes) {
  constexpr std::size_t kPage = 4096;
  void* const memory = std::aligned_alloc(kPage, static_cast<std::size_t>(round_up(bytes, kPage) + kPage));
  if (memory == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), [](std::byte* arena) { std::free(arena); }};
}

}  // namespace gyre
