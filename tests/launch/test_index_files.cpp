// Files that masks name: lengths of documents and tables of blocks, of every type that NumPy may have saved them in.
#include <cstdint>
#include <limits>
#include <random>

#include "launch/folder.hpp"
#include "partition/bands.hpp"
#include "runtime/io/index_files.hpp"

using namespace gyre;
namespace fs = std::filesystem;

namespace {

using Lengths = std::vector<std::int64_t>;

std::string of_lengths(const std::string& path) {
  return refusal_of([&] { read_document_lengths(path); });
}
std::string of_blocks(const std::string& path) {
  return refusal_of([&] { read_blocks(path, 4, 4); });
}

}  // namespace

TEST_CASE("lengths of documents are read from integers of every width and sign") {
  Folder folder;
  const std::string path = folder / "x.npy";
  const auto read = [&](auto zero, const char* descr) {
    save_npy(path, descr, "(3,)", std::vector<decltype(zero)>{7, 1, 100});
    return read_document_lengths(path) == Lengths{7, 1, 100};
  };
  CHECK(read(std::int8_t{}, "|i1"));
  CHECK(read(std::int16_t{}, "<i2"));
  CHECK(read(std::int32_t{}, "<i4"));
  CHECK(read(std::int64_t{}, "<i8"));
  CHECK(read(std::uint8_t{}, "|u1"));
  CHECK(read(std::uint16_t{}, "<u2"));
  CHECK(read(std::uint32_t{}, "<u4"));
  CHECK(read(std::uint64_t{}, "<u8"));
  save_npy(path, "<i8", "(1,)", Lengths{(std::int64_t{1} << 60) - 1});
  CHECK(read_document_lengths(path) == Lengths{(std::int64_t{1} << 60) - 1});
}

TEST_CASE("what are no lengths of documents is refused with the element and a remedy") {
  Folder folder;
  const std::string path = folder / "x.npy";
  for (const std::int64_t wrong :
       {std::int64_t{0}, std::int64_t{-3}, std::int64_t{1} << 60, std::numeric_limits<std::int64_t>::min()}) {
    save_npy(path, "<i8", "(3,)", Lengths{5, 6, wrong});
    CHECK(
        says(of_lengths(path), path + ": element 2 is " + std::to_string(wrong) + "; the length of a document must be at least 1"));
  }
  save_npy(path, "<u8", "(1,)", std::vector<std::uint64_t>{~std::uint64_t{0}});
  CHECK(says(of_lengths(path), "element 0 is 18446744073709551615"));
  save_npy(path, "<f4", "(1,)", std::vector<float>{3});
  CHECK(says(of_lengths(path), "'<f4'; lengths of documents are integers"));
  save_npy(path, "|b1", "(1,)", std::vector<char>{1});
  CHECK(says(of_lengths(path), "'|b1'; lengths of documents are integers"));
  save_npy(path, "<i8", "(1, 3)", Lengths{5, 6, 7});
  CHECK(says(of_lengths(path), "has shape [1, 3]; lengths of documents have one extent"));
  save_npy(path, ">i4", "(1,)", std::vector<std::int32_t>{1});
  CHECK(says(of_lengths(path), "'>i4' (big endian); lengths of documents are integers: save x.astype('int64')"));
  save_npy(path, ">f4", "(1,)", std::vector<float>{1});
  CHECK(says(of_lengths(path), "'>f4' (big endian); lengths of documents are integers: save x.astype('int64')"));
  CHECK(says(of_blocks(path), "'>f4' (big endian); blocks are uint8 or bool"));
  save_npy(path, "<i8", "(4,)", Lengths{5, 6, 7});
  CHECK(says(of_lengths(path), "holds 24 bytes of data, but shape [4] takes 32"));
  save_npy(path, "|u1", "(1000001,)", std::vector<std::uint8_t>(1'000'001, 1));
  CHECK(says(of_lengths(path), "has 1000001 lengths; a mask has at most 1000000 documents"));
  CHECK(says(of_lengths(folder / "missing.npy"), "No such file"));
}

TEST_CASE("a table of blocks says what its file says, for one head or several, also past the first piece") {
  Folder folder;
  const std::string path = folder / "x.npy";
  std::mt19937_64 random(5);
  struct Case {
    int heads;
    std::int64_t rows, columns;
  };
  for (const Case c : {Case{1, 3, 5}, Case{3, 4, 70}, Case{2, 0, 5}, Case{2, 5, 0}, Case{2, 3000, 3000}}) {
    std::vector<std::uint8_t> cells(static_cast<std::size_t>(c.heads * c.rows * c.columns));
    for (std::uint8_t& cell : cells) cell = random() % 3 == 0 ? static_cast<std::uint8_t>(random() % 256) : 0;
    const std::string plane = std::to_string(c.rows) + ", " + std::to_string(c.columns) + ")";
    save_npy(path, "|u1", "(" + (c.heads > 1 ? std::to_string(c.heads) + ", " : "") + plane, cells);
    const BlockTable table = read_blocks(path, 16, 8);
    CHECK(table.shape() == BlockShape{.query_tokens = 16, .key_tokens = 8, .heads = c.heads, .rows = c.rows, .columns = c.columns});
    for (int draw = 0; draw < 2000 && !cells.empty(); ++draw) {
      const std::size_t at = random() % cells.size();
      const auto row = static_cast<std::int64_t>(at) / c.columns, column = static_cast<std::int64_t>(at) % c.columns;
      if (table.visible(static_cast<int>(row / c.rows), row % c.rows, column) != (cells[at] != 0)) FAIL("cell " << at);
    }
  }
  save_npy(path, "|b1", "(1, 2)", std::vector<char>{0, 1});
  CHECK(read_blocks(path, 1, 1).visible(0, 0, 1));
  CHECK_FALSE(read_blocks(path, 1, 1).visible(0, 0, 0));
}

TEST_CASE("what is no table of blocks is refused with a remedy") {
  Folder folder;
  const std::string path = folder / "x.npy";
  save_npy(path, "<i8", "(1, 2)", Lengths{0, 1});
  CHECK(says(of_blocks(path), path + ": has elements of type '<i8'; blocks are uint8 or bool: save x.astype('uint8')"));
  for (const char* shape : {"(4,)", "(1, 1, 2, 2)"}) {
    save_npy(path, "|u1", shape, std::vector<std::uint8_t>(4));
    CHECK(says(of_blocks(path), "[rows, columns] of blocks is read"));
  }
  save_npy(path, "|u1", "(0, 2, 2)", std::vector<std::uint8_t>{});
  CHECK(says(of_blocks(path), "its heads must be at least 1"));
  for (const char* shape : {"(1152921504606846976, 0)", "(0, 9223372036854775807)"}) {
    save_npy(path, "|u1", shape, std::vector<std::uint8_t>{});
    CHECK(says(of_blocks(path), "below 2^60"));
  }
  CHECK(says(of_blocks(folder.path.string()), "not a regular file"));
}

TEST_CASE("columns and diagonals are one row for all query heads or for each, of blocks that hold every query") {
  Folder folder;
  const std::string path = folder / "x.npy";
  save_npy(path, "|b1", "(3,)", std::vector<char>{0, 1, 1});
  const BlockTable one = gyre::read_row(path, 7);
  CHECK(one.shape() == BlockShape{.query_tokens = gyre::kEveryQuery, .key_tokens = 7, .heads = 1, .rows = 1, .columns = 3});
  CHECK((!one.visible(0, 0, 0) && one.visible(0, 0, 1) && one.visible(0, 0, 2)));
  save_npy(path, "|u1", "(2, 3)", std::vector<std::uint8_t>{0, 9, 0, 1, 0, 255});
  const BlockTable each = gyre::read_row(path, 1);
  CHECK((each.shape().heads == 2 && each.visible(0, 0, 1) && !each.visible(1, 0, 1) && each.visible(1, 0, 2)));
  save_npy(path, "|u1", "(1, 1, 3)", std::vector<std::uint8_t>{0, 9, 0});
  const auto refusal = [&] { return refusal_of([&] { gyre::read_row(path, 1); }); };
  CHECK(says(refusal(), "has shape [1, 1, 3]; [columns], or [diagonals div C], is read, or [query heads, of these]: reshape it"));
  save_npy(path, "<i8", "(3,)", Lengths{0, 1, 0});
  CHECK(says(refusal(), "columns and diagonals are uint8 or bool: save x.astype('uint8')"));
}

TEST_CASE("slices are read from rows of five, and anything else is refused") {
  Folder folder;
  const std::string path = folder / "x.npy";
  const auto refusal = [&] { return refusal_of([&] { gyre::read_slices(path); }); };
  save_npy(path, "<i4", "(2, 5)", std::vector<std::int32_t>{0, 4, 2, 9, 1, 3, 3, 0, 1, 3});
  CHECK(gyre::read_slices(path) ==
        std::vector<gyre::Slice>{{{0, 4}, {2, 9}, gyre::SliceKind::causal}, {{3, 3}, {0, 1}, gyre::SliceKind::both}});
  save_npy(path, "<i4", "(1, 5)", std::vector<std::int32_t>{0, 4, 2, 9, 4});
  CHECK(says(refusal(), "slice 0 is of type 4; types are 0 (full), 1 (causal), 2 (inverse causal) and 3 (both)"));
  save_npy(path, "<i4", "(1, 5)", std::vector<std::int32_t>{0, 4, 9, 2, 0});
  CHECK(says(refusal(), "slice 0 goes from 9 to 2; it must not end before it begins"));
  save_npy(path, "<i4", "(1, 5)", std::vector<std::int32_t>{0, 4, -1, 2, 0});
  CHECK(says(refusal(), "element 2 is -1; a border of tokens or a type must be at least 0"));
  save_npy(path, "<i4", "(5, 1)", std::vector<std::int32_t>{0, 4, 1, 2, 0});
  CHECK(says(refusal(), "has shape [5, 1]; slices are [n, 5]"));
  save_npy(path, "<f4", "(1, 5)", std::vector<float>{0, 4, 1, 2, 0});
  CHECK(says(refusal(), "'<f4'; slices are integers"));
}

TEST_CASE("a layout is read from rows of begin, end and rank, and anything else is refused") {
  Folder folder;
  const std::string path = folder / "x.npy";
  const auto of_chunks = [&] { return refusal_of([&] { read_chunks(path); }); };
  save_npy(path, "<u4", "(2, 3)", std::vector<std::uint32_t>{4, 9, 1, 0, 4, 2'147'483'647});
  CHECK(read_chunks(path) == std::vector<Chunk>{{{4, 9}, 1}, {{0, 4}, std::numeric_limits<std::int32_t>::max()}});
  save_npy(path, "<u4", "(2, 3)", std::vector<std::uint32_t>{4, 9, 1, 0, 4, 4'000'000'000});
  CHECK(says(of_chunks(), path + ": chunk 1 goes to rank 4000000000; ranks are numbers from 0 to 2147483647"));
  save_npy(path, "<i8", "(0, 3)", Lengths{});
  CHECK(read_chunks(path).empty());
  save_npy(path, "<i8", "(1, 3)", Lengths{0, 9, -1});
  CHECK(says(of_chunks(), path + ": element 2 is -1; a border of tokens or a rank must be at least 0"));
  for (const char* shape : {"(6,)", "(3, 2)", "(1, 2, 3)"}) {
    save_npy(path, "<i8", shape, Lengths{0, 1, 0, 1, 2, 0});
    CHECK(says(of_chunks(), "a layout is [chunks, 3]"));
  }
  save_npy(path, "<f4", "(1, 3)", std::vector<float>{0, 1, 0});
  CHECK(says(of_chunks(), "'<f4'; chunks of a layout are integers"));
}

TEST_CASE("an expression reads the files it names, and a file that is wrong is named with its column") {
  Folder folder;
  save_npy(folder / "l.npy", "<i4", "(2,)", std::vector<std::int32_t>{3, 4});
  const std::string expression = "causal & documents(" + (folder / "l.npy") + ")";
  const Mask mask = Mask::parse(expression, mask_files());
  CHECK(mask.bands().count({0, 7}, {0, 7}) == 6 + 10);
  CHECK(mask.text() == expression);
  const std::string message = refusal_of([&] { Mask::parse("full | documents(" + (folder / "no.npy") + ")", mask_files()); });
  CHECK(says(message, "column 18: " + (folder / "no.npy") + ": cannot be read: No such file"));
}
