// Masks as a user says them, and the parser of the command line's mask expressions.
//
//   Mask mask = Mask::window(4096) | Mask::sinks(4);
//   Mask same = Mask::parse("window(4096) | sinks(4)");
//
// A mask is kept in normal form (bands) from the start; it also remembers the document borders, where units may be cut, and the
// numbers of tokens that its documents add up to and that its block tables were made for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "partition/bands.hpp"
#include "partition/block_table.hpp"

namespace gyre {

/// What of a slice's rectangle is visible; numbered as files have them.
enum class SliceKind : std::uint8_t {
  full = 0,
  causal = 1,          // from the diagonal through the last query and the last key on to the left
  inverse_causal = 2,  // from the diagonal through the first query and the first key on to the right
  both = 3             // between the two
};

/// Some queries, by their rows, and some keys (MagiAttention's AttnSlice, 2505.13211).
struct Slice {
  Range queries;
  Range keys;
  SliceKind kind = SliceKind::full;
  bool operator==(const Slice&) const = default;
};

/// Who reads the files that an expression names: this room reads none. A reader throws std::invalid_argument on a file that is not
/// what it should be; the parser adds the column. Readers that are null refuse every file by name.
struct MaskFiles {
  using Path = const std::string&;
  std::function<std::vector<std::int64_t>(Path)> lengths;  // of documents(FILE)
  /// Of blocks(FILE,B) and blocks(FILE,BQ,BK), at least 1 each: one plane, or one for each query head.
  std::function<BlockTable(Path, std::int64_t query_tokens, std::int64_t key_tokens)> blocks;
  /// Of columns(FILE) and diagonals(FILE,C): tables of one row, for every query (kEveryQuery), of keys, or bins, of so many tokens.
  std::function<BlockTable(Path, std::int64_t key_tokens)> rows;
  std::function<std::vector<Slice>(Path)> slices;  // of slices(FILE)
};

class Mask {
 public:
  Mask() : Mask(full()) {}

  // i: query position on the key axis, j: key position. Every factory throws std::invalid_argument on a bad argument.
  static Mask full();                                             // always
  static Mask causal();                                           // j <= i
  static Mask window(std::int64_t left, std::int64_t right = 0);  // i - left <= j <= i + right
  static Mask sinks(std::int64_t count);                          // j < count and j <= i
  static Mask prefix(std::int64_t count);                         // j < count
  static Mask documents(std::span<const std::int64_t> lengths);   // i and j in the same document
  static Mask dilated(std::int64_t count, std::int64_t step);     // i - j in {0, step, ..., (count - 1) step}
  static Mask strided(std::int64_t step);                         // i - j is a multiple of step
  /// Documents and blocks that were read from a file: the same, but text() names the file. A name without quotation marks.
  static Mask documents(std::span<const std::int64_t> lengths, const std::string& file);
  static Mask blocks(BlockTable table, const std::string& file);     // the block of (query row, j) is visible in the table
  static Mask columns(BlockTable table, const std::string& file);    // so is the column j of its only row, of blocks of 1 key
  static Mask diagonals(BlockTable table, const std::string& file);  // i >= j, and so is the bin (i - j) div its key_tokens
  /// The same, by the k-th table for the query rows [k query_tokens, (k + 1) query_tokens): what every chunk of queries chose.
  static Mask diagonals(std::vector<BlockTable> tables, std::int64_t query_tokens, const std::string& file);
  /// One of the slices shows the pair, of which the query is counted by rows, as blocks count. They may overlap: a pair is visible
  /// or it is not.
  static Mask slices(std::span<const Slice> slices, const std::string& file);

  /// Parses an expression of the primitives above with `&`, `|` (`&` binds tighter) and parentheses. A FILE is everything up to a
  /// comma or a closing parenthesis, or stands in quotation marks; documents() takes what begins with a digit for lengths. Throws
  /// std::invalid_argument with the column and what was expected there.
  static Mask parse(std::string_view expression, const MaskFiles& files = {});

  friend Mask operator&(const Mask& a, const Mask& b);
  friend Mask operator|(const Mask& a, const Mask& b);

  const Bands& bands() const& { return bands_; }  // with query 0 at position 0
  Bands bands() && { return std::move(bands_); }
  const std::string& text() const { return text_; }                   // an expression that parses to the same mask
  std::span<const std::int64_t> borders() const { return borders_; }  // document borders on the key axis, ascending
  /// The bands with query 0 at this position: tables of blocks and slices count queries from there. Cheap, but for masks with
  /// slices, or with diagonals of several tables, at another position than 0: those are put together anew.
  Bands bands_at(std::int64_t first_query_position) const;

  /// Throws std::invalid_argument unless the documents, where there are some, add up to this many keys.
  void require_key_tokens(std::int64_t key_tokens) const;
  /// Throws std::invalid_argument unless every table has the blocks of so many tokens, columns one for each key, diagonals
  /// ceil(key tokens / C), each for all query heads together or for each, and unless slices lie within the tokens.
  void require_tables(std::int64_t query_tokens, std::int64_t key_tokens, int query_heads) const;

 private:
  Mask(Bands bands, std::string text) : bands_(std::move(bands)), text_(std::move(text)) {}
  struct Parts;
  static Mask combined(const Mask& a, const Mask& b, bool both);

  Bands bands_;
  std::string text_;
  std::vector<std::int64_t> borders_;
  std::optional<std::int64_t> key_tokens_;
  enum class Counts : std::uint8_t { blocks, columns, diagonals, slices };
  struct Table {
    std::string file;
    Counts counts = Counts::blocks;
    BlockShape shape;  // of slices: blocks of one token up to where they reach
  };
  std::vector<Table> tables_;                 // as read: bands may have combined them
  std::shared_ptr<const Parts> with_slices_;  // what it was made of, where bands are of query rows: they move with the first one
  // Of the text, the outermost operator. Parentheses are kept where it would else be grouped differently: the same pairs would be
  // visible, but through other bands.
  enum class Outermost : std::uint8_t { primitive, both, either };
  Outermost outermost_ = Outermost::primitive;
};

}  // namespace gyre
