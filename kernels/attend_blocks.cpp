#include "kernels/attend_blocks.hpp"

#include <algorithm>

namespace gyre {
namespace {

/// Rows of a task: its blocks go through the keys side by side, so that a unit is read from memory, and expanded, once for all of
/// them. With their queries and partials they want to stay in the second cache level beside the unit.
constexpr int kTaskRows = 192;

/// Rows from those of a token to those of the next.
std::int64_t rows_of_token(const CellShape& shape) {
  return shape.rows == RowOrder::by_token ? shape.group : 1;
}

/// Strips that blocks may go through: of cells whose positions adjoin or, by head, of one member of one cell. A strip that lies
/// across two members is the first one's.
struct StripRun {
  std::int32_t cell = 0;
  std::int32_t strip = 0;
  std::int64_t strips = 0;
};

std::vector<StripRun> runs_of(const CellShape& shape, const std::vector<QueryCell>& cells) {
  std::vector<StripRun> runs;
  const auto count = static_cast<std::int32_t>(cells.size());
  for (std::int32_t cell = 0; cell < count; ++cell) {
    const std::int64_t tokens = cells[cell].positions.size();
    if (shape.rows == RowOrder::by_head) {
      const auto strips_to = [&](std::int64_t member) { return (member * tokens + kStrip - 1) / kStrip; };
      for (int member = 0; member < shape.group; ++member) {
        const auto first = static_cast<std::int32_t>(strips_to(member));
        runs.push_back({.cell = cell, .strip = first, .strips = strips_to(member + 1) - first});
      }
    } else if (cell > 0 && cells[cell].positions.begin == cells[cell - 1].positions.end) {
      runs.back().strips += query_strips(shape, tokens);
    } else {
      runs.push_back({.cell = cell, .strip = 0, .strips = query_strips(shape, tokens)});
    }
  }
  return runs;
}

}  // namespace

std::int64_t strips_of_table_row(const AttendWork& work) {
  std::int64_t shortest = 0;
  for (const auto& table : work.bands->tables()) {
    const std::int64_t tokens = table->shape().query_tokens, rows = tokens * rows_of_token(work.shape);
    if (tokens != kEveryQuery && rows > kStrip && rows % kStrip == 0 && (shortest == 0 || rows < shortest)) shortest = rows;
  }
  return shortest / kStrip;
}

void append_blocks(const AttendWork& work, int head, int strips_per_block, std::int64_t table_row,
                   std::vector<QueryBlock>& blocks) {
  const std::vector<QueryCell>& cells = work.heads[head].queries;
  const auto strips_of = [&](int cell) { return query_strips(work.shape, cells[cell].positions.size()); };
  const std::ptrdiff_t before = std::ssize(blocks);
  const auto count = static_cast<std::int32_t>(cells.size());
  for (const StripRun& run : runs_of(work.shape, cells)) {
    // Strips up to the next border of a table's row. Where cells end within a strip they drift apart: then pieces are only shorter.
    const std::int64_t row = (cells[run.cell].positions.begin - work.bands->first_query_position()) * rows_of_token(work.shape);
    std::int64_t left = run.strips;
    std::int64_t to_border =
        table_row == 0 ? left : table_row - floor_divide(row, kStrip) + floor_divide(row, table_row * kStrip) * table_row;
    QueryBlock block{.head = head, .cell = run.cell, .strip = run.strip};
    for (; left > 0; to_border = table_row) {
      std::int64_t strips = std::min(left, to_border);
      left -= strips;
      for (std::int64_t pieces = (strips + strips_per_block - 1) / strips_per_block; pieces > 0; --pieces) {
        block.strips = static_cast<std::int32_t>((strips + pieces - 1) / pieces);
        blocks.push_back(block);
        strips -= block.strips;
        for (block.strip += block.strips; block.cell < count && block.strip >= strips_of(block.cell); ++block.cell) {
          block.strip -= static_cast<std::int32_t>(strips_of(block.cell));
        }
      }
    }
  }
  std::reverse(blocks.begin() + before, blocks.end());
}

std::vector<BlockTask> tasks_of(const std::vector<QueryBlock>& blocks, int strips_per_block, int threads) {
  const auto count = static_cast<std::int32_t>(blocks.size());
  const int most = std::clamp(count / (threads * kTasksPerThread), 1, std::max(1, kTaskRows / (strips_per_block * kStrip)));
  std::vector<BlockTask> tasks;
  for (std::int32_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && blocks[end].head == blocks[begin].head) ++end;
    BlockTask task{.first_block = begin};
    for (int pieces = (end - begin + most - 1) / most; pieces > 0; --pieces, task.first_block += task.blocks) {
      task.blocks = (end - task.first_block + pieces - 1) / pieces;
      tasks.push_back(task);
    }
  }
  return tasks;
}

BlockRows resolve(const AttendWork& work, const QueryBlock& block, Tile& tile) {
  const std::vector<QueryCell>& cells = work.heads[block.head].queries;
  BlockRows rows{.strips = {}, .form_bytes = {}, .positions = {}, .lanes = {}};
  tile.strip_count = block.strips;
  std::int32_t cell = block.cell;
  std::int32_t strip = block.strip;
  for (int s = 0; s < block.strips; ++s, ++strip) {
    if (strip == query_strips(work.shape, cells[cell].positions.size())) ++cell, strip = 0;
    const QueryCell& from = cells[cell];
    rows.strips[s] = from.query + strip * query_strip_elements(work.shape) * type_bytes(work.shape.type);
    rows.form_bytes[s] = query_form_elements(work.shape, from.positions.size()) * type_bytes(work.shape.type);
    rows.positions[s] = from.positions.begin;
    tile.strips[s].partial = reinterpret_cast<float*>(from.partial) + strip * partial_strip_floats(work.shape);
    rows.lanes.append(work.shape, block.head, from.positions, strip);
  }
  return rows;
}

int few_rows(const BlockRows& rows, const Tile& tile, int most) {
  if (tile.strip_count > 1) return 0;
  const auto end = std::find(rows.lanes.positions.begin(), rows.lanes.positions.begin() + kStrip, kNoPosition);
  const auto count = static_cast<int>(end - rows.lanes.positions.begin());
  return count <= most ? count : 0;
}

}  // namespace gyre
