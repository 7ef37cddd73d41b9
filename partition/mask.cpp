#include "partition/mask.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace gyre {
namespace {

// An argument of a primitive. Anything from 2^60 on would mean "no limit", so it is refused rather than misread.
void require_argument(const char* primitive, const char* argument, std::int64_t value, std::int64_t least) {
  if (value >= least && value < kUnbounded) return;
  throw std::invalid_argument(std::string(primitive) + ": " + argument + " is " + std::to_string(value) + ": it must be at least " +
                              std::to_string(least) + " and below 2^60");
}

void require_one_row(const BlockShape& shape, const char* primitive) {
  if (shape.rows == 1 && shape.query_tokens == kEveryQuery) return;
  throw std::invalid_argument(std::string(primitive) + ": the table has " + std::to_string(shape.rows) + " rows of " +
                              std::to_string(shape.query_tokens) + " queries: it must have one of kEveryQuery");
}

void require_slice(const Slice& slice) {
  for (const auto& [what, range] : {std::pair("queries", slice.queries), std::pair("keys", slice.keys)}) {
    if (range.begin >= 0 && range.begin <= range.end && range.end < kUnbounded) continue;
    throw std::invalid_argument("slices(FILE): a slice has " + std::string(what) + " from " + std::to_string(range.begin) + " to " +
                                std::to_string(range.end) + ": they must begin at 0 or later, and not end before that");
  }
  if (slice.kind > SliceKind::both) {
    throw std::invalid_argument("slices(FILE): a slice is of type " + std::to_string(static_cast<int>(slice.kind)) +
                                ": it must be 0 (full), 1 (causal), 2 (inverse causal) or 3 (both)");
  }
}

/// Bands that count queries by rows, with row 0 at a position. Keys of slices stay; a table of diagonals counts from the query.
Bands moved(const Bands& rows, std::int64_t first_query) {
  const auto move = [&](std::int64_t& limit, std::int64_t by) {
    if (std::abs(limit) < kUnbounded) limit += by;
  };
  std::vector<Band> bands(rows.all().begin(), rows.all().end());
  for (Band& band : bands) {
    band.queries = band.queries + first_query;
    if (band.diagonals != nullptr) {
      move(band.keys.begin, first_query), move(band.keys.end, first_query);
    } else {
      move(band.lower, -first_query), move(band.upper, -first_query);
    }
  }
  return Bands(std::move(bands), rows.tables());
}

/// What a table of diagonals shows. It must outlive the band.
Band band_of(const BlockTable& table) {
  const BlockShape& shape = table.shape();
  const bool bounded = shape.columns < kUnbounded / shape.key_tokens;
  return {.lower = bounded ? 1 - shape.columns * shape.key_tokens : -kUnbounded, .upper = 0, .diagonals = &table};
}

std::string tokens_of_block(const BlockShape& shape) {
  const std::string keys = std::to_string(shape.key_tokens) + " tokens";
  return shape.query_tokens == shape.key_tokens ? keys : std::to_string(shape.query_tokens) + " x " + keys;
}

std::string call(const char* primitive, std::int64_t argument) {
  return std::string(primitive) + '(' + std::to_string(argument) + ')';
}

std::string call(const char* primitive, std::int64_t first, std::int64_t second) {
  return std::string(primitive) + '(' + std::to_string(first) + ',' + std::to_string(second) + ')';
}

std::string parenthesised(const std::string& text, bool wanted) {
  return wanted ? '(' + text + ')' : text;
}

std::vector<std::int64_t> merged(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  std::vector<std::int64_t> borders;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(borders));
  return borders;
}

template <class Element>
std::vector<Element> joined(std::vector<Element> a, const std::vector<Element>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::optional<std::int64_t> agreed(std::optional<std::int64_t> a, std::optional<std::int64_t> b) {
  if (a && b && *a != *b) {
    throw std::invalid_argument("the documents of a mask add up to " + std::to_string(*a) + " tokens in one place and to " +
                                std::to_string(*b) + " in another: they must add up to the same number of keys");
  }
  return a ? a : b;
}

/// A file as expressions name it: in quotation marks where the parser would stop early, or take it for something else.
std::string file_name(const std::string& file) {
  if (file.empty() || file.find('"') != std::string::npos) {
    throw std::invalid_argument("a mask's file has the name '" + file + "': it must not be empty or hold quotation marks");
  }
  const bool plain = file.find_first_of(",) \t\r\n") == std::string::npos && file.find_first_of("-0123456789") != 0;
  return plain ? file : '"' + file + '"';
}

}  // namespace

Mask Mask::full() {
  return {Bands({Band{}}), "full"};
}

Mask Mask::causal() {
  return {Bands({Band{.upper = 0}}), "causal"};
}

Mask Mask::window(std::int64_t left, std::int64_t right) {
  require_argument("window(L,R)", "L", left, 0);
  require_argument("window(L,R)", "R", right, 0);
  return {Bands({Band{.lower = -left, .upper = right}}), right == 0 ? call("window", left) : call("window", left, right)};
}

Mask Mask::sinks(std::int64_t count) {
  require_argument("sinks(N)", "N", count, 0);
  return {Bands({Band{.keys = {0, count}, .upper = 0}}), call("sinks", count)};
}

Mask Mask::prefix(std::int64_t count) {
  require_argument("prefix(N)", "N", count, 0);
  return {Bands({Band{.keys = {0, count}}}), call("prefix", count)};
}

Mask Mask::documents(std::span<const std::int64_t> lengths) {
  if (lengths.empty()) throw std::invalid_argument("documents() has no length: give at least one");
  if (lengths.size() > Bands::kMostBands) {
    throw std::invalid_argument("the mask has " + std::to_string(lengths.size()) + " documents: at most " +
                                std::to_string(Bands::kMostBands) + " are supported");
  }
  std::vector<Band> bands;
  std::vector<std::int64_t> borders{0};
  std::string text = "documents(";
  for (const std::int64_t length : lengths) {
    require_argument("documents(n1,n2,...)", "a length", length, 1);
    require_argument("documents(n1,n2,...)", "the sum of lengths", borders.back() + length, 1);
    const Range document{borders.back(), borders.back() + length};
    bands.push_back({.queries = document, .keys = document});
    borders.push_back(document.end);
    text += std::to_string(length) + ',';
  }
  text.back() = ')';
  Mask mask{Bands(std::move(bands)), std::move(text)};
  mask.borders_ = std::move(borders);
  mask.key_tokens_ = mask.borders_.back();
  return mask;
}

Mask Mask::documents(std::span<const std::int64_t> lengths, const std::string& file) {
  Mask mask = documents(lengths);
  mask.text_ = "documents(" + file_name(file) + ')';
  return mask;
}

Mask Mask::blocks(BlockTable table, const std::string& file) {
  const auto shared = std::make_shared<const BlockTable>(std::move(table));
  const BlockShape& shape = shared->shape();
  const std::string keys = shape.key_tokens == shape.query_tokens ? "" : ',' + std::to_string(shape.key_tokens);
  Mask mask{Bands({Band{.blocks = shared.get()}}, {shared}),
            "blocks(" + file_name(file) + ',' + std::to_string(shape.query_tokens) + keys + ')'};
  mask.tables_.push_back({file, Counts::blocks, shape});
  return mask;
}

Mask Mask::columns(BlockTable table, const std::string& file) {
  const auto shared = std::make_shared<const BlockTable>(std::move(table));
  const BlockShape& shape = shared->shape();
  require_one_row(shape, "columns(FILE)");
  if (shape.key_tokens != 1) {
    throw std::invalid_argument("columns(FILE): a column has " + std::to_string(shape.key_tokens) +
                                " keys: it must have 1; for more use blocks(FILE,BQ,BK)");
  }
  Mask mask{Bands({Band{.keys = {0, shape.columns}, .blocks = shared.get()}}, {shared}), "columns(" + file_name(file) + ')'};
  mask.tables_.push_back({file, Counts::columns, shape});
  return mask;
}

Mask Mask::diagonals(BlockTable table, const std::string& file) {
  const auto shared = std::make_shared<const BlockTable>(std::move(table));
  const BlockShape& shape = shared->shape();
  require_one_row(shape, "diagonals(FILE,C)");
  Mask mask{Bands({band_of(*shared)}, {shared}), "diagonals(" + file_name(file) + ',' + std::to_string(shape.key_tokens) + ')'};
  mask.tables_.push_back({file, Counts::diagonals, shape});
  return mask;
}

/// What a mask with slices was made of. Both: an intersection; else a union, or a mask without operands.
struct Mask::Parts {
  Bands bands;
  bool of_rows = false;  // all of the bands: queries are counted by rows, and slices' diagonals from there
  bool both = false;
  std::shared_ptr<const Parts> left{}, right{};

  static std::shared_ptr<const Parts> of(const Mask& mask) {
    return mask.with_slices_ != nullptr ? mask.with_slices_ : std::make_shared<const Parts>(Parts{.bands = mask.bands_});
  }
  Bands at(std::int64_t first_query) const {
    if (left != nullptr)
      return both ? left->at(first_query) & right->at(first_query) : left->at(first_query) | right->at(first_query);
    return of_rows ? moved(bands, first_query) : bands.at(first_query);
  }
};

Mask Mask::diagonals(std::vector<BlockTable> tables, std::int64_t query_tokens, const std::string& file) {
  if (tables.empty()) throw std::invalid_argument("diagonals of several tables: there is none; give one for each run of queries");
  require_argument("diagonals of several tables", "the queries of each", query_tokens, 1);
  require_argument("diagonals of several tables", "the queries of all", query_tokens * std::ssize(tables), 1);
  std::vector<Band> bands;
  Bands::Tables shared;
  std::vector<Table> known;
  for (BlockTable& table : tables) {
    require_one_row(table.shape(), "diagonals of several tables");
    known.push_back({file, Counts::diagonals, table.shape()});
    shared.push_back(std::make_shared<const BlockTable>(std::move(table)));
    Band band = band_of(*shared.back());
    band.queries = {std::ssize(bands) * query_tokens, std::ssize(shared) * query_tokens};
    bands.push_back(band);
  }
  Mask mask{Bands(std::move(bands), shared),
            "diagonals(" + file_name(file) + ',' + std::to_string(known.front().shape.key_tokens) + ')'};
  mask.tables_ = std::move(known);
  mask.with_slices_ = std::make_shared<const Parts>(Parts{.bands = mask.bands_, .of_rows = true});
  return mask;
}

Mask Mask::slices(std::span<const Slice> slices, const std::string& file) {
  std::vector<Band> bands;
  BlockShape reach;
  for (const Slice& slice : slices) {
    require_slice(slice);
    Band band{.queries = slice.queries, .keys = slice.keys};
    const bool causal = slice.kind == SliceKind::causal || slice.kind == SliceKind::both;
    const bool inverse = slice.kind == SliceKind::inverse_causal || slice.kind == SliceKind::both;
    if (causal) band.upper = slice.keys.end - slice.queries.end;
    if (inverse) band.lower = slice.keys.begin - slice.queries.begin;
    bands.push_back(band);
    reach.rows = std::max(reach.rows, slice.queries.end), reach.columns = std::max(reach.columns, slice.keys.end);
  }
  Mask mask{Bands(std::move(bands)), "slices(" + file_name(file) + ')'};
  mask.tables_.push_back({file, Counts::slices, reach});
  mask.with_slices_ = std::make_shared<const Parts>(Parts{.bands = mask.bands_, .of_rows = true});
  return mask;
}

Bands Mask::bands_at(std::int64_t first_query_position) const {
  return with_slices_ != nullptr && first_query_position != 0 ? with_slices_->at(first_query_position)
                                                              : bands_.at(first_query_position);
}

Mask Mask::dilated(std::int64_t count, std::int64_t step) {
  require_argument("dilated(L,D)", "L", count, 1);
  require_argument("dilated(L,D)", "D", step, 1);
  const __int128 reach = static_cast<__int128>(count - 1) * step;
  const std::int64_t lower = reach < kUnbounded ? -static_cast<std::int64_t>(reach) : -kUnbounded;
  return {Bands({Band{.lower = lower, .upper = 0, .modulus = step}}), call("dilated", count, step)};
}

Mask Mask::strided(std::int64_t step) {
  require_argument("strided(S)", "S", step, 1);
  return {Bands({Band{.modulus = step}}), call("strided", step)};
}

Mask Mask::combined(const Mask& a, const Mask& b, bool both) {
  const Outermost looser = both ? Outermost::primitive : Outermost::both;  // what needs no parentheses on the right
  const std::string left = parenthesised(a.text_, both && a.outermost_ == Outermost::either);
  const std::string right = parenthesised(b.text_, b.outermost_ > looser);
  const std::optional<std::int64_t> key_tokens = agreed(a.key_tokens_, b.key_tokens_);
  Mask mask{both ? a.bands_ & b.bands_ : a.bands_ | b.bands_, left + (both ? " & " : " | ") + right};
  mask.borders_ = merged(a.borders_, b.borders_);
  mask.key_tokens_ = key_tokens;
  mask.tables_ = joined(a.tables_, b.tables_);
  mask.outermost_ = both ? Outermost::both : Outermost::either;
  if (a.with_slices_ != nullptr || b.with_slices_ != nullptr) {
    mask.with_slices_ = std::make_shared<const Parts>(
        Parts{.bands = {}, .of_rows = false, .both = both, .left = Parts::of(a), .right = Parts::of(b)});
  }
  return mask;
}

Mask operator&(const Mask& a, const Mask& b) {
  return Mask::combined(a, b, true);
}

Mask operator|(const Mask& a, const Mask& b) {
  return Mask::combined(a, b, false);
}

void Mask::require_key_tokens(std::int64_t key_tokens) const {
  if (!key_tokens_ || *key_tokens_ == key_tokens) return;
  throw std::invalid_argument("the documents of the mask add up to " + std::to_string(*key_tokens_) + " tokens, but there " +
                              (key_tokens == 1 ? "is 1 key" : "are " + std::to_string(key_tokens) + " keys") +
                              ": give lengths that sum to the key tokens");
}

void Mask::require_tables(std::int64_t query_tokens, std::int64_t key_tokens, int query_heads) const {
  const auto tokens = [&] {
    return "for " + std::to_string(query_tokens) + " queries and " + std::to_string(key_tokens) + " keys ";
  };
  const auto blocks = [](std::int64_t all, std::int64_t block) { return all / block + (all % block != 0); };
  for (const auto& [file, counts, shape] : tables_) {
    if (shape.heads != 1 && shape.heads != query_heads) {
      const char* const what = counts == Counts::columns ? "columns" : counts == Counts::diagonals ? "diagonals" : "blocks";
      throw std::invalid_argument(file + " has " + what + " of " + std::to_string(shape.heads) + " heads, but there " +
                                  (query_heads == 1 ? "is 1 query head" : "are " + std::to_string(query_heads) + " query heads") +
                                  ": give " + what + " for each, or one table for all");
    }
    const std::int64_t rows = blocks(query_tokens, shape.query_tokens), columns = blocks(key_tokens, shape.key_tokens);
    switch (counts) {
      case Counts::blocks:
        if (shape.rows == rows && shape.columns == columns) break;
        throw std::invalid_argument(file + " is [" + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) +
                                    "] blocks of " + tokens_of_block(shape) + ": " + tokens() + "it must be [" +
                                    std::to_string(rows) + ", " + std::to_string(columns) + "]");
      case Counts::columns:
      case Counts::diagonals:
        if (shape.columns == columns) break;
        throw std::invalid_argument(file + " has " + std::to_string(shape.columns) +
                                    (counts == Counts::columns ? " columns: " : " bins of diagonals: ") + tokens() +
                                    "it must have " + std::to_string(columns));
      case Counts::slices:
        if (shape.rows <= query_tokens && shape.columns <= key_tokens) break;
        throw std::invalid_argument(file + " has slices up to query row " + std::to_string(shape.rows) + " and key " +
                                    std::to_string(shape.columns) + ", both excluded: " + tokens() +
                                    "they must end there; rows are counted from the first query");
    }
  }
}

}  // namespace gyre
