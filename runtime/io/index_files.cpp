#include "runtime/io/index_files.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "partition/bands.hpp"
#include "runtime/io/npy.hpp"
#include "runtime/io/regular_file.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{8} << 20;

[[noreturn]] void refuse(const RegularFile& file, const std::string& why) {
  throw std::invalid_argument(file.path() + ": " + why);
}

/// A message in the words of std::invalid_argument whatever went wrong: the parser adds the column to those alone.
template <class Read>
auto all_refused(Read&& read) {
  try {
    return read();
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(error.what());
  }
}

/// What integers stand for.
struct Meaning {
  const char* element;   // one of them
  const char* elements;  // all
  std::uint64_t least;
};
constexpr Meaning kLengths{"the length of a document", "lengths of documents", 1};
constexpr Meaning kChunks{"a border of tokens or a rank", "chunks of a layout", 0};
constexpr Meaning kSlices{"a border of tokens or a type", "slices", 0};

template <class Integer>
void widen(const std::vector<std::byte>& bytes, const RegularFile& file, const Meaning& meaning,
           std::vector<std::int64_t>& numbers) {
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    Integer value = 0;
    std::memcpy(&value, bytes.data() + index * sizeof(Integer), sizeof(Integer));
    const bool negative = value < 0;
    const std::uint64_t number = static_cast<std::make_unsigned_t<Integer>>(value);
    if (negative || number < meaning.least || number >= static_cast<std::uint64_t>(kUnbounded))
      refuse(file, "element " + std::to_string(index) + " is " + std::to_string(value) + "; " + meaning.element +
                       " must be at least " + std::to_string(meaning.least) + " and below 2^60");
    numbers[index] = static_cast<std::int64_t>(number);
  }
}

void widen(FileType type, const std::vector<std::byte>& bytes, const RegularFile& file, const Meaning& meaning,
           std::vector<std::int64_t>& numbers) {
  switch (type) {
    case FileType::u8:
      return widen<std::uint8_t>(bytes, file, meaning, numbers);
    case FileType::i8:
      return widen<std::int8_t>(bytes, file, meaning, numbers);
    case FileType::u16:
      return widen<std::uint16_t>(bytes, file, meaning, numbers);
    case FileType::i16:
      return widen<std::int16_t>(bytes, file, meaning, numbers);
    case FileType::u32:
      return widen<std::uint32_t>(bytes, file, meaning, numbers);
    case FileType::i32:
      return widen<std::int32_t>(bytes, file, meaning, numbers);
    case FileType::u64:
      return widen<std::uint64_t>(bytes, file, meaning, numbers);
    case FileType::i64:
      return widen<std::int64_t>(bytes, file, meaning, numbers);
    default:
      throw std::logic_error("integers from elements that are none");
  }
}

bool is_integer(FileType type) {
  return type >= FileType::u8 && type <= FileType::i64;
}

/// [columns] at a time, as many rows as a piece holds.
void fill(const RegularFile& file, std::int64_t begin, BlockTable& table) {
  const BlockShape& shape = table.shape();
  if (shape.columns == 0) return;
  const std::int64_t all_rows = shape.heads * shape.rows, piece = std::max<std::int64_t>(1, kPieceBytes / shape.columns);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(std::min(piece, all_rows) * shape.columns));
  for (std::int64_t row = 0; row < all_rows; row += piece) {
    const std::int64_t rows = std::min(piece, all_rows - row);
    file.read(cells.data(), rows * shape.columns, begin + row * shape.columns);
    for (std::int64_t at = 0; at < rows; ++at)
      table.show(static_cast<int>((row + at) / shape.rows), (row + at) % shape.rows,
                 std::span(cells).subspan(static_cast<std::size_t>(at * shape.columns), static_cast<std::size_t>(shape.columns)));
  }
}

void require_integers(const RegularFile& file, const StoredTensor& tensor, const Meaning& meaning) {
  if (!is_integer(tensor.type))
    refuse(file, "has elements of type " + type_text(tensor) + "; " + meaning.elements + " are integers: save x.astype('int64')");
}

std::vector<std::int64_t> integers_of(const RegularFile& file, const StoredTensor& tensor, std::int64_t count,
                                      const Meaning& meaning) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::vector<std::byte> bytes(numbers.size() * static_cast<std::size_t>(element_bytes(tensor.type)));
  file.read(bytes.data(), std::ssize(bytes), tensor.begin);
  widen(tensor.type, bytes, file, meaning, numbers);
  return numbers;
}

std::vector<std::int64_t> lengths_of(const RegularFile& file) {
  const StoredTensor tensor = locate_npy(file);
  require_integers(file, tensor, kLengths);
  if (tensor.shape.size() != 1)
    refuse(file, "has shape " + shape_text(tensor.shape) + "; lengths of documents have one extent: save x.ravel()");
  if (tensor.shape[0] > static_cast<std::int64_t>(Bands::kMostBands))
    refuse(file, "has " + std::to_string(tensor.shape[0]) + " lengths; a mask has at most " + std::to_string(Bands::kMostBands) +
                     " documents: join some");
  return integers_of(file, tensor, tensor.shape[0], kLengths);
}

std::vector<Chunk> chunks_of(const RegularFile& file) {
  constexpr std::int64_t kMostChunks = 10'000'000;
  const StoredTensor tensor = locate_npy(file);
  const auto& extents = tensor.shape;
  require_integers(file, tensor, kChunks);
  if (extents.size() != 2 || extents[1] != 3 || extents[0] > kMostChunks)
    refuse(file, "has shape " + shape_text(extents) + "; a layout is [chunks, 3], begin, end and rank of each, of at most " +
                     std::to_string(kMostChunks) + " chunks: save it so");
  const std::vector<std::int64_t> numbers = integers_of(file, tensor, extents[0] * 3, kChunks);
  std::vector<Chunk> chunks;
  for (std::size_t at = 0; at < numbers.size(); at += 3) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    const std::int64_t rank = numbers[at + 2];
    if (rank > kMost)
      refuse(file, "chunk " + std::to_string(at / 3) + " goes to rank " + std::to_string(rank) + "; ranks are numbers from 0 to " +
                       std::to_string(kMost));
    chunks.push_back({{numbers[at], numbers[at + 1]}, static_cast<std::int32_t>(rank)});
  }
  return chunks;
}

std::vector<Slice> slices_of(const RegularFile& file) {
  const StoredTensor tensor = locate_npy(file);
  const auto& extents = tensor.shape;
  require_integers(file, tensor, kSlices);
  if (extents.size() != 2 || extents[1] != 5 || extents[0] > static_cast<std::int64_t>(Bands::kMostBands))
    refuse(file, "has shape " + shape_text(extents) +
                     "; slices are [n, 5], begin and end of queries, begin and end of keys, type of " + "each, of at most " +
                     std::to_string(Bands::kMostBands) + " slices: save it so");
  const std::vector<std::int64_t> numbers = integers_of(file, tensor, extents[0] * 5, kSlices);
  std::vector<Slice> slices;
  for (std::size_t at = 0; at < numbers.size(); at += 5) {
    const std::int64_t kind = numbers[at + 4];
    if (kind > static_cast<std::int64_t>(SliceKind::both))
      refuse(file, "slice " + std::to_string(at / 5) + " is of type " + std::to_string(kind) +
                       "; types are 0 (full), 1 (causal), 2 (inverse causal) and 3 (both)");
    slices.push_back({{numbers[at], numbers[at + 1]}, {numbers[at + 2], numbers[at + 3]}, static_cast<SliceKind>(kind)});
    for (const Range range : {slices.back().queries, slices.back().keys})
      if (range.end < range.begin)
        refuse(file, "slice " + std::to_string(at / 5) + " goes from " + std::to_string(range.begin) + " to " +
                         std::to_string(range.end) + "; it must not end before it begins");
  }
  return slices;
}

/// One of bits. Extents of one plane: two of blocks, one of columns and diagonals.
struct PlaneMeaning {
  const char* elements;
  const char* shapes;
  std::size_t extents;
};
constexpr PlaneMeaning kBlockPlane{"blocks", "[rows, columns] of blocks is read, or [query heads, rows, columns]", 2};
constexpr PlaneMeaning kRowPlane{"columns and diagonals", "[columns], or [diagonals div C], is read, or [query heads, of these]",
                                 1};

void require_plane(const RegularFile& file, const StoredTensor& tensor, const PlaneMeaning& meaning) {
  const auto& extents = tensor.shape;
  if (tensor.type != FileType::u8 && tensor.type != FileType::boolean)
    refuse(file,
           "has elements of type " + type_text(tensor) + "; " + meaning.elements + " are uint8 or bool: save x.astype('uint8')");
  if (extents.size() != meaning.extents && extents.size() != meaning.extents + 1)
    refuse(file, "has shape " + shape_text(extents) + "; " + meaning.shapes + ": reshape it");
  for (const std::int64_t extent : extents)
    if (extent >= kUnbounded) refuse(file, "has shape " + shape_text(extents) + "; rows and columns must be below 2^60");
  if (extents.size() > meaning.extents && (extents[0] < 1 || extents[0] > std::numeric_limits<int>::max()))
    refuse(file, "has shape " + shape_text(extents) + "; its heads must be at least 1 and below 2^31");
}

BlockTable table_of(const RegularFile& file, const PlaneMeaning& meaning, std::int64_t query_tokens, std::int64_t key_tokens) {
  const StoredTensor tensor = locate_npy(file);
  require_plane(file, tensor, meaning);
  const auto& extents = tensor.shape;
  BlockShape shape{.query_tokens = query_tokens, .key_tokens = key_tokens};
  shape.heads = extents.size() > meaning.extents ? static_cast<int>(extents[0]) : 1;
  shape.rows = meaning.extents == 1 ? 1 : extents[extents.size() - 2], shape.columns = extents.back();
  try {
    BlockTable table(shape);
    fill(file, tensor.begin, table);
    return table;
  } catch (const std::invalid_argument& error) {
    refuse(file, error.what());
  }
}

}  // namespace

std::vector<std::int64_t> read_document_lengths(const std::string& path) {
  return all_refused([&] { return lengths_of(RegularFile(path)); });
}

BlockTable read_blocks(const std::string& path, std::int64_t query_tokens, std::int64_t key_tokens) {
  return all_refused([&] { return table_of(RegularFile(path), kBlockPlane, query_tokens, key_tokens); });
}

BlockTable read_row(const std::string& path, std::int64_t key_tokens) {
  return all_refused([&] { return table_of(RegularFile(path), kRowPlane, kEveryQuery, key_tokens); });
}

std::vector<Slice> read_slices(const std::string& path) {
  return all_refused([&] { return slices_of(RegularFile(path)); });
}

std::vector<Chunk> read_chunks(const std::string& path) {
  return all_refused([&] { return chunks_of(RegularFile(path)); });
}

MaskFiles mask_files() {
  return {.lengths = read_document_lengths, .blocks = read_blocks, .rows = read_row, .slices = read_slices};
}

}  // namespace gyre
