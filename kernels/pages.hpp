// Memory for cells: in large pages, where the system gives them.
//
// Attention over a sparse mask reads cells in pieces of a few kilobytes from all over the arena. With pages of 4 kB each piece
// costs walks through the page tables, which are as long as the reads themselves; 2 MB pages spare them (kernels/README.md has
// figures).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace gyre {

struct FreePages {
  void operator()(std::byte* memory) const;
};
using CellMemory = std::unique_ptr<std::byte[], FreePages>;

/// At least so many bytes, not touched, aligned to a page of 4 kB. Linux is asked for large pages (MADV_HUGEPAGE) if there is more
/// than one of them; it may refuse, which changes nothing but time. Throws std::bad_alloc.
CellMemory allocate_cells(std::int64_t bytes);

}  // namespace gyre
