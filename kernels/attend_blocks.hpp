// What an attend's query rows are divided into: blocks that a kernel takes at once, and tasks of neighbouring blocks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/attend.hpp"
#include "kernels/lanes.hpp"

namespace gyre {

/// Consecutive strips of a head's query cells, beginning with strip `strip` of cell `cell` and running on into the next cells.
struct QueryBlock {
  std::int32_t head = 0;
  std::int32_t cell = 0;
  std::int32_t strip = 0;
  std::int32_t strips = 0;
};

/// The rows of a block: where they lie, and where they stand.
struct BlockRows {
  std::array<const std::byte*, Tile::kMostStrips> strips;  // of query cells, in their first form
  std::array<std::int64_t, Tile::kMostStrips> form_bytes;  // to the next form
  std::array<std::int64_t, Tile::kMostStrips> positions;   // of the cell's first token
  Lanes lanes;
};

/// Of one head.
struct BlockTask {
  std::int32_t first_block = 0;
  std::int32_t blocks = 0;
};

/// Strips of query rows in one row of the mask's tables of blocks, where those are whole: a block that crosses their border would
/// take the keys of both rows, vector by vector. 0 where there are no such tables.
std::int64_t strips_of_table_row(const AttendWork& work);

/// Appends the blocks of one head, last first. A block runs on into the next cell only where their positions adjoin, so that its
/// hull holds no position that is not its own, and not beyond a row of tables that is so many strips (0: there is none); where rows
/// lie by head it is of one head, but for a strip that lies across two. What is between is cut into pieces as even as possible.
void append_blocks(const AttendWork& work, int head, int strips_per_block, std::int64_t table_row, std::vector<QueryBlock>& blocks);

/// Tasks that every thread wants to have, so that the last ones end at about the same time.
inline constexpr int kTasksPerThread = 8;

/// Neighbouring blocks of a head, as evenly as possible: about 192 rows, fewer where there would not be kTasksPerThread.
std::vector<BlockTask> tasks_of(const std::vector<QueryBlock>& blocks, int strips_per_block, int threads);

/// Finds out where a block's rows lie and stand, and fills in the tile's partials.
BlockRows resolve(const AttendWork& work, const QueryBlock& block, Tile& tile);

/// How many rows there are, if they all are of one strip, of which they lie in the first lanes, and no more than this; 0 otherwise.
int few_rows(const BlockRows& rows, const Tile& tile, int most);

}  // namespace gyre
