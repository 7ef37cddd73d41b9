#include "bench/longbook/report.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>

namespace gyre::longbook {
namespace {

using Json = nlohmann::ordered_json;

struct Part {
  const char* name;
  double ForwardSeconds::*seconds;
};
constexpr Part kParts[] = {{"embedding", &ForwardSeconds::embedding},       {"norms", &ForwardSeconds::norms},
                           {"projections", &ForwardSeconds::projections},   {"attending", &ForwardSeconds::attending},
                           {"packing", &ForwardSeconds::packing},           {"estimating", &ForwardSeconds::estimating},
                           {"planning", &ForwardSeconds::planning},         {"waiting", &ForwardSeconds::waiting},
                           {"feed_forward", &ForwardSeconds::feed_forward}, {"logits", &ForwardSeconds::logits}};

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

/// A token is bytes, and need not be UTF-8 by itself.
std::string printable(const std::string& text) {
  std::string shown;
  for (const char letter : text)
    shown += letter >= ' ' && letter <= '~' ? std::string(1, letter) : formatted("\\x%02x", static_cast<unsigned char>(letter));
  return shown;
}

}  // namespace

Json json_of(const Reading& reading, const std::string& first_token, std::int64_t bin_tokens) {
  Json ranks = Json::array();
  for (const ForwardSeconds& seconds : reading.rank_seconds) {
    Json of_rank;
    for (const Part& part : kParts) of_rank[part.name] = seconds.*part.seconds;
    of_rank["total"] = seconds.total;
    ranks.push_back(std::move(of_rank));
  }
  Json positions = Json::array();
  const std::int64_t targets = std::ssize(reading.losses);
  for (std::int64_t begin = 0; begin < targets; begin += bin_tokens) {
    const std::int64_t end = std::min(begin + bin_tokens, targets);
    positions.push_back({{"begin", begin}, {"end", end}, {"loss", reading.mean_loss(begin, end)}});
  }
  return {{"strategy", reading.strategy},
          {"partition", reading.partition},
          {"kept_share", reading.kept_share},
          {"perplexity", reading.perplexity()},
          {"loss", reading.mean_loss()},
          {"first_token", printable(first_token)},
          {"seconds",
           {{"first_token", reading.first_token_seconds}, {"scoring", reading.scoring_seconds}, {"ranks", std::move(ranks)}}},
          {"bytes_sent", reading.bytes_sent},
          {"bytes_borrowed", reading.bytes_borrowed},
          {"positions", std::move(positions)}};
}

std::string page(const Reading& reading, const std::string& first_token) {
  const auto mean = [&](double ForwardSeconds::*part) {
    double sum = 0;
    for (const ForwardSeconds& seconds : reading.rank_seconds) sum += seconds.*part;
    return sum / static_cast<double>(reading.rank_seconds.size());
  };
  std::string text = formatted("%s, %s: perplexity %.4f of %td tokens; first token '%s' after %.2f s\n", reading.strategy.c_str(),
                               reading.partition.c_str(), reading.perplexity(), std::ssize(reading.losses),
                               printable(first_token).c_str(), reading.first_token_seconds);
  if (reading.kept_share < 1) text += formatted("  %.1f%% of the pairs\n", 100 * reading.kept_share);
  text += " ";
  for (const Part& part : kParts)
    text += formatted(" %s %.0f%%", part.name, 100 * mean(part.seconds) / mean(&ForwardSeconds::total));
  return text + "\n";
}

}  // namespace gyre::longbook
