// Lengths of documents, tables of blocks and layouts: a file becomes a mask or a placement, or is refused.
#include <algorithm>
#include <stdexcept>

#include "memory_file.hpp"
#include "partition/placement.hpp"
#include "runtime/io/index_files.hpp"

namespace gyre {
namespace {

void read_lengths(const std::string& path) {
  const std::vector<std::int64_t> lengths = read_document_lengths(path);
  std::int64_t sum = 0;
  for (const std::int64_t length : lengths) {
    require(length >= 1 && length < kUnbounded);
    if (sum < kUnbounded) sum += length;
  }
  const Mask mask = Mask::documents(lengths);
  mask.require_key_tokens(sum);
}

void check_table(const BlockTable& table, std::int64_t key_tokens) {
  const BlockShape& shape = table.shape();
  require(shape.key_tokens == key_tokens);
  for (int head = 0; head < std::min(shape.heads, 4); ++head)
    for (std::int64_t row = 0; row < std::min<std::int64_t>(shape.rows, 16); ++row) {
      std::int64_t visible = 0;
      for (std::int64_t column = 0; column < shape.columns; ++column) visible += table.visible(head, row, column);
      require(table.count(head, row, {0, shape.columns}) == visible);
      require((table.first_visible({head, head + 1}, row, {0, shape.columns}) < shape.columns) == (visible > 0));
    }
}

/// Slices that are read are a mask.
void read_slice_mask(const std::string& path) {
  const std::vector<Slice> slices = read_slices(path);
  if (slices.size() <= 100) Mask::slices(slices, "s").require_tables(kUnbounded, kUnbounded, 1);
}

/// Chunks that are accepted by a placement hold every token once, on ranks that there are.
void read_layout(const std::string& path) {
  const std::vector<Chunk> chunks = read_chunks(path);
  std::vector<std::int64_t> cuts;
  std::int64_t tokens = 0;
  for (const Chunk& chunk : chunks) {
    cuts.push_back(chunk.tokens.begin);
    tokens = std::max(tokens, chunk.tokens.end);
  }
  if (tokens > 100'000) return;
  const Units units(tokens, 16, cuts);
  const Placement placement = Placement::of_chunks(units, 4, chunks, "queries");
  for (const Chunk& chunk : chunks)
    for (std::int64_t token = chunk.tokens.begin; token < chunk.tokens.end; token += 7)
      require(placement.owner(units.unit_of(token)) == chunk.rank);
}

/// What is refused may be so by any of them alone.
template <class Read>
void refuse_or(Read&& read) {
  try {
    read();
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const gyre::MemoryFile file({data, size});
  gyre::refuse_or([&] { gyre::read_lengths(file.path()); });
  const auto tokens = 1 + static_cast<std::int64_t>(size % 7);
  gyre::refuse_or([&] { gyre::check_table(gyre::read_blocks(file.path(), 3, tokens), tokens); });
  gyre::refuse_or([&] { gyre::check_table(gyre::read_row(file.path(), tokens), tokens); });
  gyre::refuse_or([&] { gyre::read_slice_mask(file.path()); });
  gyre::refuse_or([&] { gyre::read_layout(file.path()); });
  return 0;
}
