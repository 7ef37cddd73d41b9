#include "runtime/choose.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>

namespace gyre {
namespace {

struct Scale {
  double least;
  const char* unit;
};

/// "12.3 ms", "4.5 GB". The last scale takes what is smaller than all.
std::string scaled(double value, std::span<const Scale> scales) {
  while (scales.size() > 1 && value < scales.front().least) scales = scales.subspan(1);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g %s", value / scales.front().least, scales.front().unit);
  return text.data();
}

std::string seconds(double value) {
  static constexpr Scale kUnits[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}};
  return scaled(value, kUnits);
}

std::string bytes(double value) {
  static constexpr Scale kUnits[] = {{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"}, {1, "bytes"}};
  return scaled(value, kUnits);
}

std::string name(const Prediction& prediction) {
  return to_string(prediction.strategy) + ", " + prediction.partition.text();
}

/// What of the difference is the largest part.
std::string difference(const Prediction& best, const Prediction& next) {
  const double exposed = next.exposed_communication_seconds - best.exposed_communication_seconds;
  const double computing = next.computing_seconds - best.computing_seconds;
  const double packing = next.packing_seconds - best.packing_seconds;
  if (exposed >= computing && exposed >= packing) {
    std::string text = seconds(best.exposed_communication_seconds) + " of its communication is exposed and " +
                       seconds(next.exposed_communication_seconds) + " there";
    if (best.bytes_between_nodes < 0.95 * next.bytes_between_nodes)
      text += ", since " + bytes(best.bytes_between_nodes) + " cross between nodes instead of " + bytes(next.bytes_between_nodes);
    else if (best.bytes_sent_per_rank < 0.95 * next.bytes_sent_per_rank)
      text += ", since a rank sends " + bytes(best.bytes_sent_per_rank) + " instead of " + bytes(next.bytes_sent_per_rank);
    else
      text += ", with as many bytes";
    return text;
  }
  if (computing >= packing)
    return "its busiest rank attends for " + seconds(best.computing_seconds) + " instead of " + seconds(next.computing_seconds);
  return "packing and joining take " + seconds(best.packing_seconds) + " instead of " + seconds(next.packing_seconds);
}

bool fits(const Prediction& prediction, const Machine& machine) {
  return machine.memory_bytes_per_rank == 0 || prediction.memory_bytes_per_rank <= machine.memory_bytes_per_rank;
}

/// Whether a node has more ranks than that.
bool wide(std::span<const int> nodes, int most) {
  std::vector<int> ranks(nodes.size());  // [node]
  return std::any_of(nodes.begin(), nodes.end(), [&](int node) { return ++ranks[node] > most; });
}

}  // namespace

Considered consider(Predictor& predictor, const Machine& machine) {
  return consider(predictor, machine, predictor.candidates());
}

Considered consider(Predictor& predictor, const Machine& machine, std::span<const StrategyChoice> strategies) {
  Considered considered;
  for (const StrategyChoice strategy : strategies) {
    Prediction prediction;
    try {
      prediction = predictor.predict(strategy);
    } catch (const std::invalid_argument& error) {
      considered.left_out.push_back(to_string(strategy) + ": " + error.what());
      continue;
    }
    if (fits(prediction, machine)) {
      considered.best_first.push_back(std::move(prediction));
    } else {
      considered.left_out.push_back(name(prediction) + ": a rank would need " + bytes(prediction.memory_bytes_per_rank) +
                                    " and has " + bytes(machine.memory_bytes_per_rank));
    }
  }
  sort_best_first(considered.best_first);
  return considered;
}

void sort_best_first(std::vector<Prediction>& predictions) {
  std::stable_sort(predictions.begin(), predictions.end(),
                   [](const Prediction& a, const Prediction& b) { return a.seconds < b.seconds; });
}

std::string reason(std::span<const Prediction> best_first) {
  if (best_first.empty()) return "";
  const Prediction& best = best_first.front();
  const auto next =
      std::find_if(best_first.begin(), best_first.end(), [&](const Prediction& other) { return other.strategy != best.strategy; });
  std::string text = name(best) + ": " + seconds(best.seconds);
  if (next == best_first.end()) return text + ", and nothing else can be done";
  const std::string other = seconds(next->seconds) + " by " + name(*next);
  if (next->seconds < best.seconds) return text + ", and not left for " + other;
  return text + " against " + other + ": " + difference(best, *next);
}

Choice choose_strategy(const Layout& layout, const Options& options, std::span<const int> nodes, const Machine& machine) {
  constexpr double kWorthIt = 0.95;
  if (layout.ranks == 1) return {Strategy::ring, "a single rank has nobody to exchange with"};
  constexpr Effort kEffort{.most_whole = 16, .least_projected = 4, .most_projected = 32};
  if (layout.ranks > kEffort.most_whole && wide(nodes, kEffort.most_on_a_node))
    return {Strategy::ring, "ring: many ranks on nodes of more than " + std::to_string(kEffort.most_on_a_node) +
                                " are not modelled for a choice; gyre plan does, or give a strategy"};
  Options settled;
  settled.partition = layout.partition;
  settled.unit_tokens = options.unit_tokens;
  Predictor predictor(layout.problem, settled, {nodes.begin(), nodes.end()}, machine, kEffort);
  std::vector<Prediction> all = consider(predictor, machine).best_first;
  const auto ring = std::find_if(all.begin(), all.end(), [](const Prediction& p) { return p.strategy == Strategy::ring; });
  if (ring != all.end() && all.front().seconds > kWorthIt * ring->seconds) std::rotate(all.begin(), ring, ring + 1);
  if (all.empty()) return {Strategy::ring, "no strategy fits in the memory that the machine is said to have"};
  return {all.front().strategy, reason(all)};
}

}  // namespace gyre
