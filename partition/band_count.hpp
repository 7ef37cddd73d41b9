// Counting the pairs of a union of bands. Internal to this room.
#pragma once

#include <cstdint>
#include <vector>

#include "partition/bands.hpp"

namespace gyre {

/// Pairs of the union. Every band lies within `queries` and is not empty. Tables are left out.
std::int64_t count_strips(std::vector<Band> bands, Range queries);

/// Pairs of the union, summed over so many heads, where `queries` lie in one row of every table. Every band lies within `queries`
/// and is not empty. first_query: the position of the tables' row 0.
std::int64_t count_row_of_blocks(const std::vector<Band>& bands, Range queries, std::int64_t first_query, int heads);

}  // namespace gyre
