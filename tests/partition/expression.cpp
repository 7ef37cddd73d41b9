#include "expression.hpp"

#include <algorithm>

#include "support/drawn_blocks.hpp"

namespace gyre::test {
namespace {

bool same_document(const std::vector<std::int64_t>& lengths, std::int64_t query, std::int64_t key) {
  std::int64_t begin = 0;
  for (const std::int64_t length : lengths) {
    const std::int64_t end = begin + length;
    if (begin <= query && query < end && begin <= key && key < end) return true;
    begin = end;
  }
  return false;
}

const char* name_of(Expression::Kind kind) {
  static constexpr const char* kNames[] = {"full",    "causal", "window",  "sinks",     "prefix", "documents", "dilated",
                                           "strided", "blocks", "columns", "diagonals", "slices", "&",         "|"};
  return kNames[static_cast<int>(kind)];
}

DrawnBlocks drawn_from(const std::vector<std::int64_t>& numbers) {
  return {static_cast<std::uint64_t>(numbers[2]), static_cast<int>(numbers[3]), numbers[4], numbers[5]};
}
DrawnSlices slices_from(const std::vector<std::int64_t>& numbers) {
  return {static_cast<std::uint64_t>(numbers[0]), numbers[1], numbers[2], numbers[3]};
}

/// As MagiAttention defines it, by places a and b within the slice.
bool shows(const Slice& slice, std::int64_t row, std::int64_t key) {
  const std::int64_t a = row - slice.queries.begin, b = key - slice.keys.begin;
  const std::int64_t height = slice.queries.end - slice.queries.begin, width = slice.keys.end - slice.keys.begin;
  if (a < 0 || a >= height || b < 0 || b >= width) return false;
  const bool causal = b <= a + width - height, inverse = b >= a;
  return slice.kind == SliceKind::full || (slice.kind == SliceKind::causal && causal) ||
         (slice.kind == SliceKind::inverse_causal && inverse) || (slice.kind == SliceKind::both && causal && inverse);
}

std::int64_t block_of(std::int64_t token, std::int64_t block_tokens) {
  std::int64_t block = 0;
  for (; token >= (block + 1) * block_tokens; ++block) continue;
  return token < 0 ? -1 : block;
}

}  // namespace

std::int64_t draw(std::mt19937_64& random, std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most - least + 1));
}

std::vector<std::int64_t> random_lengths(std::mt19937_64& random, std::int64_t tokens, std::int64_t longest) {
  std::vector<std::int64_t> lengths;
  while (tokens > 0) {
    lengths.push_back(draw(random, 1, std::min(tokens, longest)));
    tokens -= lengths.back();
  }
  return lengths;
}

bool Expression::visible(std::int64_t query, std::int64_t key, int head, std::int64_t first_query) const {
  const std::int64_t behind = query - key;
  const auto number = [&](std::size_t k) { return k < numbers.size() ? numbers[k] : 0; };
  switch (kind) {
    case Kind::full:
      return true;
    case Kind::causal:
      return key <= query;
    case Kind::window:
      return query - number(0) <= key && key <= query + number(1);
    case Kind::sinks:
      return key < number(0) && key <= query;
    case Kind::prefix:
      return key < number(0);
    case Kind::documents:
      return same_document(numbers, query, key);
    case Kind::dilated:
      for (std::int64_t tooth = 0; tooth < number(0); ++tooth) {
        if (behind == tooth * number(1)) return true;
      }
      return false;
    case Kind::strided:
      return behind % number(0) == 0;
    case Kind::blocks:
      return drawn_from(numbers).visible(head, block_of(query - first_query, number(0)), block_of(key, number(1)));
    case Kind::columns:
      return query >= first_query && drawn_from(numbers).visible(head, 0, key);
    case Kind::diagonals:
      return behind >= 0 && drawn_from(numbers).visible(head, 0, block_of(behind, number(1)));
    case Kind::slices:
      for (const Slice& slice : slices_from(numbers).all()) {
        if (shows(slice, query - first_query, key)) return true;
      }
      return false;
    case Kind::both:
      return operands[0].visible(query, key, head, first_query) && operands[1].visible(query, key, head, first_query);
    case Kind::either:
      return operands[0].visible(query, key, head, first_query) || operands[1].visible(query, key, head, first_query);
  }
  return false;
}

Mask Expression::mask() const {
  switch (kind) {
    case Kind::full:
      return Mask::full();
    case Kind::causal:
      return Mask::causal();
    case Kind::window:
      return numbers.size() == 2 ? Mask::window(numbers[0], numbers[1]) : Mask::window(numbers[0]);
    case Kind::sinks:
      return Mask::sinks(numbers[0]);
    case Kind::prefix:
      return Mask::prefix(numbers[0]);
    case Kind::documents:
      return Mask::documents(numbers);
    case Kind::dilated:
      return Mask::dilated(numbers[0], numbers[1]);
    case Kind::strided:
      return Mask::strided(numbers[0]);
    case Kind::blocks:
      return Mask::blocks(drawn_table(drawn_from(numbers).name(), numbers[0], numbers[1]), drawn_from(numbers).name());
    case Kind::columns:
      return Mask::columns(drawn_table(drawn_from(numbers).name(), numbers[0], numbers[1]), drawn_from(numbers).name());
    case Kind::diagonals:
      return Mask::diagonals(drawn_table(drawn_from(numbers).name(), numbers[0], numbers[1]), drawn_from(numbers).name());
    case Kind::slices:
      return Mask::slices(slices_from(numbers).all(), slices_from(numbers).name());
    case Kind::both:
      return operands[0].mask() & operands[1].mask();
    case Kind::either:
      return operands[0].mask() | operands[1].mask();
  }
  return {};
}

std::string Expression::text() const {
  if (!operands.empty()) return "(" + operands[0].text() + " " + name_of(kind) + " " + operands[1].text() + ")";
  const auto of_file = [&](const std::string& file, const std::string& more) {
    return name_of(kind) + ("( " + file) + more + " )";
  };
  const auto tokens = [&](std::size_t k) { return " , " + std::to_string(numbers[k]); };
  if (kind == Kind::blocks) return of_file(drawn_from(numbers).name(), tokens(0) + tokens(1));
  if (kind == Kind::columns) return of_file(drawn_from(numbers).name(), "");
  if (kind == Kind::diagonals) return of_file(drawn_from(numbers).name(), tokens(1));
  if (kind == Kind::slices) return of_file(slices_from(numbers).name(), "");
  std::string text = name_of(kind);
  for (std::size_t k = 0; k < numbers.size(); ++k) text += (k == 0 ? "( " : " ,") + std::to_string(numbers[k]);
  return numbers.empty() ? text : text + " )";
}

static Expression random_table(std::mt19937_64& random, Expression::Kind kind, int heads) {
  using Kind = Expression::Kind;
  const auto block = [&] { return draw(random, 0, 2) == 0 ? 4 : draw(random, 1, 12); };
  const std::int64_t seed = draw(random, 0, 1'000'000), own_heads = draw(random, 0, 1) == 0 ? 1 : heads;
  if (kind == Kind::columns) return {kind, {kEveryQuery, 1, seed, own_heads, 1, draw(random, 0, 41)}, {}};
  if (kind == Kind::diagonals) {
    const std::int64_t bin = block();
    return {kind, {kEveryQuery, bin, seed, own_heads, 1, draw(random, 0, 50 / bin + 1)}, {}};
  }
  if (kind == Kind::slices) return {kind, {seed, draw(random, 0, 5), draw(random, 0, 40), draw(random, 0, 40)}, {}};
  const std::int64_t queries = block(), keys = draw(random, 0, 1) == 0 ? queries : block();
  return {Kind::blocks, {queries, keys, seed, own_heads, draw(random, 0, 40 / queries + 1), draw(random, 0, 40 / keys + 1)}, {}};
}

Expression random_expression(std::mt19937_64& random, int primitives, std::int64_t key_tokens, int heads) {
  using Kind = Expression::Kind;
  if (primitives > 1) {
    const int left = static_cast<int>(draw(random, 1, primitives - 1));
    Expression expression{draw(random, 0, 1) == 0 ? Kind::both : Kind::either, {}, {}};
    expression.operands.push_back(random_expression(random, left, key_tokens, heads));
    expression.operands.push_back(random_expression(random, primitives - left, key_tokens, heads));
    return expression;
  }
  // Full swallows what it meets, so it is the rare one.
  const auto kind = draw(random, 0, 19) == 0 ? Kind::full : static_cast<Kind>(draw(random, 1, heads == 0 ? 7 : 12));
  if (kind >= Kind::blocks) return random_table(random, kind, heads);
  const auto number = [&](std::int64_t least) { return draw(random, least, key_tokens / 2 + 2); };
  switch (kind) {
    case Kind::window:
      return draw(random, 0, 1) == 0 ? Expression{kind, {number(0)}, {}} : Expression{kind, {number(0), number(0)}, {}};
    case Kind::sinks:
    case Kind::prefix:
      return {kind, {number(0)}, {}};
    case Kind::documents:
      return {kind, random_lengths(random, key_tokens, number(1)), {}};
    case Kind::dilated:
      return {kind, {number(1), draw(random, 1, 6)}, {}};
    case Kind::strided:
      return {kind, {draw(random, 1, 8)}, {}};
    default:
      return {kind, {}, {}};
  }
}

}  // namespace gyre::test
