// Counting the pairs of a union of bands. Internal to this room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partition/bands.hpp"

namespace gyre {

/// Pairs of the union. Bands ascend in queries.begin, and none is empty. Tables are left out.
std::int64_t count_strips(std::span<const Band> bands);

/// Pairs of the union, summed over so many heads, where `queries` lie in one row of every table. Every band is clipped to
/// `queries`, and sees some key from the first of them and some from the last, so that they cut it nowhere. first_query: the
/// position of the tables' row 0.
std::int64_t count_row_of_blocks(const std::vector<Band>& bands, Range queries, std::int64_t first_query, int heads);

}  // namespace gyre
