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
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "partition/bands.hpp"
#include "partition/block_table.hpp"

namespace gyre {

/// Who reads the files that an expression names: this room reads none. A reader throws std::invalid_argument on a file that is not
/// what it should be; the parser adds the column. Readers that are null refuse every file by name.
struct MaskFiles {
  std::function<std::vector<std::int64_t>(const std::string& path)> lengths;             // of documents(FILE)
  std::function<BlockTable(const std::string& path, std::int64_t block_tokens)> blocks;  // of blocks(FILE,B), B at least 1
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
  static Mask blocks(BlockTable table, const std::string& file);  // the block of (query row, j) is visible in the table

  /// Parses an expression of the primitives above with `&`, `|` (`&` binds tighter) and parentheses. A FILE is everything up to a
  /// comma or a closing parenthesis, or stands in quotation marks; documents() takes what begins with a digit for lengths. Throws
  /// std::invalid_argument with the column and what was expected there.
  static Mask parse(std::string_view expression, const MaskFiles& files = {});

  friend Mask operator&(const Mask& a, const Mask& b);
  friend Mask operator|(const Mask& a, const Mask& b);

  const Bands& bands() const& { return bands_; }
  Bands bands() && { return std::move(bands_); }
  const std::string& text() const { return text_; }                   // an expression that parses to the same mask
  std::span<const std::int64_t> borders() const { return borders_; }  // document borders on the key axis, ascending
  /// The bands with query 0 at this position: tables of blocks count queries from there. Cheap.
  Bands bands_at(std::int64_t first_query_position) const { return bands_.at(first_query_position); }

  /// Throws std::invalid_argument unless the documents, where there are some, add up to this many keys.
  void require_key_tokens(std::int64_t key_tokens) const;
  /// Throws std::invalid_argument unless every block table is [ceil(query tokens / B), ceil(key tokens / B)] or that per query
  /// head.
  void require_tables(std::int64_t query_tokens, std::int64_t key_tokens, int query_heads) const;

 private:
  Mask(Bands bands, std::string text) : bands_(std::move(bands)), text_(std::move(text)) {}

  Bands bands_;
  std::string text_;
  std::vector<std::int64_t> borders_;
  std::optional<std::int64_t> key_tokens_;
  struct Table {
    std::string file;
    BlockShape shape;
  };
  std::vector<Table> tables_;  // as read: bands may have combined them
  // Of the text, the outermost operator. Parentheses are kept where it would else be grouped differently: the same pairs would be
  // visible, but through other bands.
  enum class Outermost : std::uint8_t { primitive, both, either };
  Outermost outermost_ = Outermost::primitive;
};

}  // namespace gyre
