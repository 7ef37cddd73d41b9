#include "partition/mask.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace gyre {
namespace {

// An argument of a primitive. Anything from 2^60 on would mean "no limit", so it is refused rather than misread.
void require_argument(const char* primitive, const char* argument, std::int64_t value, std::int64_t least) {
  if (value >= least && value < kUnbounded) return;
  throw std::invalid_argument(std::string(primitive) + ": " + argument + " is " + std::to_string(value) + ": it must be at least " +
                              std::to_string(least) + " and below 2^60");
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
  Mask mask{Bands({Band{.blocks = shared.get()}}, {shared}),
            "blocks(" + file_name(file) + ',' + std::to_string(shared->shape().block_tokens) + ')'};
  mask.tables_.push_back({file, shared->shape()});
  return mask;
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

Mask operator&(const Mask& a, const Mask& b) {
  const std::optional<std::int64_t> key_tokens = agreed(a.key_tokens_, b.key_tokens_);
  Mask mask{a.bands_ & b.bands_, parenthesised(a.text_, a.outermost_ == Mask::Outermost::either) + " & " +
                                     parenthesised(b.text_, b.outermost_ != Mask::Outermost::primitive)};
  mask.borders_ = merged(a.borders_, b.borders_);
  mask.key_tokens_ = key_tokens;
  mask.tables_ = joined(a.tables_, b.tables_);
  mask.outermost_ = Mask::Outermost::both;
  return mask;
}

Mask operator|(const Mask& a, const Mask& b) {
  const std::optional<std::int64_t> key_tokens = agreed(a.key_tokens_, b.key_tokens_);
  Mask mask{a.bands_ | b.bands_, a.text_ + " | " + parenthesised(b.text_, b.outermost_ == Mask::Outermost::either)};
  mask.borders_ = merged(a.borders_, b.borders_);
  mask.key_tokens_ = key_tokens;
  mask.tables_ = joined(a.tables_, b.tables_);
  mask.outermost_ = Mask::Outermost::either;
  return mask;
}

void Mask::require_key_tokens(std::int64_t key_tokens) const {
  if (!key_tokens_ || *key_tokens_ == key_tokens) return;
  throw std::invalid_argument("the documents of the mask add up to " + std::to_string(*key_tokens_) + " tokens, but there " +
                              (key_tokens == 1 ? "is 1 key" : "are " + std::to_string(key_tokens) + " keys") +
                              ": give lengths that sum to the key tokens");
}

void Mask::require_tables(std::int64_t query_tokens, std::int64_t key_tokens, int query_heads) const {
  for (const auto& [file, shape] : tables_) {
    const std::int64_t block = shape.block_tokens;
    const auto blocks = [&](std::int64_t tokens) { return tokens / block + (tokens % block != 0); };
    if (shape.heads != 1 && shape.heads != query_heads) {
      throw std::invalid_argument(file + " has blocks of " + std::to_string(shape.heads) + " heads, but there " +
                                  (query_heads == 1 ? "is 1 query head" : "are " + std::to_string(query_heads) + " query heads") +
                                  ": give blocks for each, or one table for all");
    }
    if (shape.rows != blocks(query_tokens) || shape.columns != blocks(key_tokens)) {
      throw std::invalid_argument(file + " is [" + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) +
                                  "] blocks of " + std::to_string(block) + " tokens: for " + std::to_string(query_tokens) +
                                  " queries and " + std::to_string(key_tokens) + " keys it must be [" +
                                  std::to_string(blocks(query_tokens)) + ", " + std::to_string(blocks(key_tokens)) + "]");
    }
  }
}

}  // namespace gyre
