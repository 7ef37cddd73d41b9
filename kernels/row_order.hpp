// Which order of rows suits a mask. Every rank chooses the same, as cells travel.
#pragma once

#include "kernels/cell.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// By head where query heads that share a key/value head, `group` of them, do not see the same. Looks through all tables.
inline RowOrder row_order_for(const Bands& bands, int group) {
  return bands.heads_alike(group) ? RowOrder::by_token : RowOrder::by_head;
}

}  // namespace gyre
