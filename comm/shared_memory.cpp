#include "comm/shared_memory.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace gyre {

SharedMemory::SharedMemory(int rank, std::vector<Region> regions) : regions_(std::move(regions)) {
  const auto own = std::find_if(regions_.begin(), regions_.end(), [&](const Region& region) { return region.rank == rank; });
  if (own != regions_.end()) mine_ = {own->pages.get(), own->bytes};
}

std::span<const std::byte> SharedMemory::of(int rank) const {
  for (const Region& region : regions_) {
    if (region.rank == rank) return {region.pages.get(), region.bytes};
  }
  throw std::invalid_argument("rank " + std::to_string(rank) +
                              " shares no memory with this rank; only ranks of one node (Transport::nodes) do");
}

}  // namespace gyre
