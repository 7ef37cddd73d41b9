#include "runtime/problem.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace gyre {
namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw std::invalid_argument(text);
}

void require_between(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    refuse(std::string(name) + " is " + std::to_string(value) + "; give a number from " + std::to_string(least) + " to " +
           std::to_string(most));
  }
}

}  // namespace

void Problem::validate() const {
  require_between("query tokens", query_tokens, 0, kMostTokens);
  require_between("key tokens", key_tokens, 0, kMostTokens);
  require_between("query heads", query_heads, 1, kMostHeads);
  require_between("key/value heads", key_heads, 1, kMostHeads);
  require_between("head dim", head_dim, 1, kLargestDim);
  require_between("value dim", value_dim, 1, kLargestDim);
  require_between("query offset", first_query_position(), -kMostTokens, kMostTokens);
  if (query_heads % key_heads != 0) {
    refuse(std::to_string(query_heads) + " query heads do not divide into " + std::to_string(key_heads) +
           " key/value heads; make the key/value heads a divisor of the query heads");
  }
  if (rotary) rotary->validate(head_dim);
  if (dual_chunk) {
    if (!rotary) refuse("dual chunk attention is of rotary positions, and there are none; give their base, usually 10000");
    dual_chunk->validate();
  }
  if (!(std::abs(score_scale()) <= kLargestScale)) {
    std::ostringstream text;
    text << "scale is " << score_scale() << "; give a number from " << -kLargestScale << " to " << kLargestScale
         << ", usually 1/sqrt(head dim)";
    refuse(text.str());
  }
  if (softcap && !(*softcap >= kLeastSoftcap && *softcap <= kLargestSoftcap)) {
    std::ostringstream text;
    text << "softcap is " << *softcap << "; give a number from " << kLeastSoftcap << " to " << kLargestSoftcap
         << ", or none for scores without a cap";
    refuse(text.str());
  }
  if (dropout && !(dropout->probability >= 0 && dropout->probability <= kLargestDropout)) {
    std::ostringstream text;
    text << "dropout is " << dropout->probability << "; give a probability from 0 to " << kLargestDropout
         << ", or none for weights that are all kept";
    refuse(text.str());
  }
  mask.require_key_tokens(key_tokens);
  mask.require_tables(query_tokens, key_tokens, query_heads);
}

double Problem::score_scale() const {
  const double temperature = dual_chunk ? dual_chunk->temperature(key_tokens) : 1;
  return scale.value_or(1 / std::sqrt(static_cast<double>(head_dim))) * temperature * temperature;
}

Bands Problem::bands() const {
  return (dual_chunk ? mask & Mask::causal() : mask).bands_at(first_query_position());
}

ScoreRule Problem::score_rule() const {
  ScoreRule rule{.scale = score_scale(), .softcap = softcap};
  if (bias == PositionBias::alibi) rule.slopes = alibi_slopes(query_heads);
  rule.dropout = dropout;
  return rule;
}

double Problem::visible_pairs() const {
  const Bands seen = bands();
  const Range queries = Range{0, query_tokens} + first_query_position();
  const int heads_that_see_the_same = query_heads / seen.heads();
  return static_cast<double>(seen.count(queries, {0, key_tokens})) * heads_that_see_the_same;
}

Sharing parse_sharing(const std::string& text) {
  if (text == "auto") return Sharing::automatic;
  if (text == "off") return Sharing::off;
  refuse("shared memory is '" + text + "'; give auto or off");
}

Backward parse_backward(const std::string& text) {
  for (const Backward backward : {Backward::automatic, Backward::keys_travel, Backward::queries_travel})
    if (text == to_string(backward)) return backward;
  refuse("backward is '" + text + "'; give auto, keys or queries: what travels");
}

std::string to_string(Backward backward) {
  switch (backward) {
    case Backward::none:
      return "none";
    case Backward::automatic:
      return "auto";
    case Backward::keys_travel:
      return "keys";
    case Backward::queries_travel:
      return "queries";
  }
  return "?";
}

void Options::validate() const {
  if (unit_tokens != 0) require_between("unit", unit_tokens, 1, kLongestUnit);
  require_between("threads", threads, 1, kMostThreads);
  require_between("prefetch", prefetch, 1, kMostPrefetch);
  require_between("piece bytes", piece_bytes, 1, std::int64_t{1} << 40);
  if (!(deadline_seconds >= 0 && std::isfinite(deadline_seconds))) {
    refuse("deadline is " + std::to_string(deadline_seconds) + " seconds; give more than 0, or 0 for none");
  }
}

}  // namespace gyre
