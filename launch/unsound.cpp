#include "launch/unsound.hpp"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <vector>

#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kValuesPerPiece = std::int64_t{1} << 16;  // of the output: what a thread looks at in one go

/// Tokens that lie together in the sequence and among this rank's rows.
struct Piece {
  Range tokens;
  std::int64_t first = 0;  // among this rank's tokens
};

std::vector<Piece> pieces_of(std::span<const Range> tokens, std::int64_t values_per_token) {
  const std::int64_t most = std::max<std::int64_t>(1, kValuesPerPiece / std::max<std::int64_t>(1, values_per_token));
  std::vector<Piece> pieces;
  std::int64_t first = 0;
  for (const Range range : tokens)
    for (std::int64_t begin = range.begin; begin < range.end; begin += most) {
      pieces.push_back({{begin, std::min(begin + most, range.end)}, first});
      first += pieces.back().tokens.size();
    }
  return pieces;
}

/// An exponent of all ones carries into the sign: integers alone, in blocks that vectorise.
bool all_finite(std::span<const float> values) {
  constexpr std::size_t kBlock = 16;
  const auto carried = [](float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7fffffffU) + 0x00800000U; };
  std::uint32_t lanes[kBlock] = {};
  std::size_t index = 0;
  for (; index + kBlock <= values.size(); index += kBlock)
    for (std::size_t lane = 0; lane < kBlock; ++lane) lanes[lane] |= carried(values[index + lane]);
  for (; index < values.size(); ++index) lanes[0] |= carried(values[index]);
  std::uint32_t all = 0;
  for (const std::uint32_t lane : lanes) all |= lane;
  return all >> 31 == 0;
}

bool saw_nothing(float lse) {
  return lse == -std::numeric_limits<float>::infinity();
}

class Search {
 public:
  Search(const Problem& problem, const float* out, const float* lse)
      : problem_(problem), bands_(problem.bands()), out_(out), lse_(lse) {}

  std::optional<Unsound> in(const Piece& piece) const {
    const std::int64_t rows = piece.tokens.size() * problem_.query_heads, row = piece.first * problem_.query_heads;
    const std::span lse(lse_ + row, static_cast<std::size_t>(rows));
    const bool blind = std::any_of(lse.begin(), lse.end(), saw_nothing) && sees(piece.tokens, kEveryHead);
    const bool numbers = std::all_of(lse.begin(), lse.end(), [](float value) { return value <= FLT_MAX; });
    if (!blind && numbers && all_finite(out_of(row, rows))) return std::nullopt;
    for (std::int64_t token = 0; token < piece.tokens.size(); ++token)
      for (int head = 0; head < problem_.query_heads; ++head)
        if (const auto found = in_row(piece.first + token, piece.tokens.begin + token, head)) return found;
    return std::nullopt;
  }

 private:
  std::optional<Unsound> in_row(std::int64_t local_token, std::int64_t token, int head) const {
    const std::int64_t row = local_token * problem_.query_heads + head;
    const float lse = lse_[row];
    const auto values = out_of(row, 1);
    for (std::size_t channel = 0; channel < values.size(); ++channel)
      if (!std::isfinite(values[channel])) return Unsound{token, head, static_cast<int>(channel), values[channel]};
    const bool blind = saw_nothing(lse) && sees({token, token + 1}, bands_.heads() > 1 ? Range{head, head + 1} : kEveryHead);
    if (blind || !(lse <= FLT_MAX)) return Unsound{token, head, Unsound::kLogSumExp, lse};
    return std::nullopt;
  }

  bool sees(Range tokens, Range heads) const {
    return bands_.cover(tokens + problem_.first_query_position(), {0, problem_.key_tokens}, heads) != Cover::empty;
  }
  std::span<const float> out_of(std::int64_t row, std::int64_t rows) const {
    return {out_ + row * problem_.value_dim, static_cast<std::size_t>(rows * problem_.value_dim)};
  }

  const Problem& problem_;
  Bands bands_;
  const float* out_;
  const float* lse_;
};

}  // namespace

std::optional<Unsound> find_unsound(Team& team, const Problem& problem, std::span<const Range> tokens, const float* out,
                                    const float* lse) {
  const std::vector<Piece> pieces = pieces_of(tokens, std::int64_t{problem.query_heads} * problem.value_dim);
  const Search search(problem, out, lse);
  std::vector<std::optional<Unsound>> found(pieces.size());
  team.run(
      static_cast<int>(pieces.size()),
      [&](int task, int) { found[static_cast<std::size_t>(task)] = search.in(pieces[static_cast<std::size_t>(task)]); }, [] {});
  const auto first = std::find_if(found.begin(), found.end(), [](const auto& unsound) { return unsound.has_value(); });
  return first == found.end() ? std::nullopt : *first;
}

std::optional<Unsound> first_of_ranks(Transport& transport, const std::optional<Unsound>& mine) {
  std::vector<Unsound> all(static_cast<std::size_t>(transport.ranks()));
  all_gather_value(transport, mine.value_or(Unsound{}), std::span(all));
  const auto first = std::min_element(all.begin(), all.end(), [](const Unsound& a, const Unsound& b) { return a.token < b.token; });
  return first->token == Unsound::kNowhere ? std::nullopt : std::optional(*first);
}

std::string to_text(const Unsound& unsound) {
  const std::string row = format("token %lld, head %d", static_cast<long long>(unsound.token), unsound.head);
  const std::string what = unsound.channel != Unsound::kLogSumExp ? format(", channel %d of the output is ", unsound.channel)
                           : saw_nothing(unsound.value)           ? ": a row that sees keys has a log-sum-exp of "
                                                                  : ": the log-sum-exp is ";
  return "the result is not finite: " + row + what + number_text(unsound.value) +
         "; scores must stay below 1e30 in magnitude and sums within float32 (3.4e38): scale queries, keys or values down";
}

}  // namespace gyre
