// Memory of one rank that the ranks of its node read where it lies (Transport::share).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace gyre {

/// Mapped pages. They are unmapped with their last owner.
using Pages = std::shared_ptr<std::byte>;

/// The shared memory of every rank of a node, as one of them sees it. Destruction is local: the memory of a rank lives until
/// the last rank of its node has let go of it, so that a rank which unwinds takes nothing away from under a reader.
class SharedMemory {
 public:
  struct Region {
    int rank = 0;
    Pages pages;  // null where bytes is 0
    std::size_t bytes = 0;
  };

  /// regions: one for every rank of the node.
  SharedMemory(int rank, std::vector<Region> regions);

  std::span<std::byte> mine() { return mine_; }
  /// Throws std::invalid_argument for a rank of another node. Reading is all that is allowed; over MPI, all that is possible.
  std::span<const std::byte> of(int rank) const;

 private:
  std::vector<Region> regions_;
  std::span<std::byte> mine_;
};

}  // namespace gyre
