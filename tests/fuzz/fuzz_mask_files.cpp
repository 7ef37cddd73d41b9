// Lengths of documents and tables of blocks: a file becomes a mask or is refused.
#include <stdexcept>

#include "memory_file.hpp"
#include "runtime/io/mask_files.hpp"

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

void read_table(const std::string& path, std::int64_t block_tokens) {
  const BlockTable table = read_blocks(path, block_tokens);
  const BlockShape& shape = table.shape();
  require(shape.block_tokens == block_tokens);
  for (int head = 0; head < std::min(shape.heads, 4); ++head)
    for (std::int64_t row = 0; row < std::min<std::int64_t>(shape.rows, 16); ++row) {
      std::int64_t visible = 0;
      for (std::int64_t column = 0; column < shape.columns; ++column) visible += table.visible(head, row, column);
      require(table.count(head, row, {0, shape.columns}) == visible);
      require((table.first_visible({head, head + 1}, row, {0, shape.columns}) < shape.columns) == (visible > 0));
    }
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const gyre::MemoryFile file({data, size});
  try {
    gyre::read_lengths(file.path());
  } catch (const std::invalid_argument&) {
  }
  try {
    gyre::read_table(file.path(), 1 + static_cast<std::int64_t>(size % 7));
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
