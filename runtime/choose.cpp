#include "runtime/choose.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "runtime/schedules/schedules.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr double kWorthIt = 0.95;  // of the ring's time: less than that has to be promised to leave it
constexpr double kAsLong = 1.01;   // closer predictions tell nothing apart
// What a choice may take: jobs that are simulated in less than a second.
constexpr Effort kEffort{.most_whole = 16, .least_projected = 4, .most_projected = 32};
constexpr Effort kEffortOnWideNodes{.most_whole = 64};

std::string name(const Prediction& prediction) {
  return to_string(prediction.strategy) + ", " + prediction.partition.text();
}

/// What of the difference is the largest part.
std::string difference(const Prediction& best, const Prediction& next) {
  const auto instead = [](const std::string& mine, const std::string& others) { return mine + " instead of " + others; };
  const double exposed = next.exposed_communication_seconds - best.exposed_communication_seconds;
  const double computing = next.computing_seconds - best.computing_seconds;
  const double packing = next.packing_seconds - best.packing_seconds;
  if (exposed < computing || exposed < packing) {
    return computing >= packing
               ? "its busiest rank attends for " +
                     instead(seconds_text(best.computing_seconds), seconds_text(next.computing_seconds))
               : "it packs and joins cells for " + instead(seconds_text(best.packing_seconds), seconds_text(next.packing_seconds));
  }
  std::string text = "it waits for communication for " +
                     instead(seconds_text(best.exposed_communication_seconds), seconds_text(next.exposed_communication_seconds));
  if (best.bytes_between_nodes < 0.95 * next.bytes_between_nodes)
    return text + ", with " + instead(bytes_text(best.bytes_between_nodes), bytes_text(next.bytes_between_nodes)) +
           " between nodes";
  if (best.bytes_sent_per_rank < 0.95 * next.bytes_sent_per_rank)
    return text + ", with " + instead(bytes_text(best.bytes_sent_per_rank), bytes_text(next.bytes_sent_per_rank)) +
           " sent by a rank";
  return text;
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
      considered.left_out.push_back(name(prediction) + ": a rank would need " + bytes_text(prediction.memory_bytes_per_rank) +
                                    " and has " + bytes_text(machine.memory_bytes_per_rank));
    }
  }
  sort_best_first(considered.best_first);
  return considered;
}

void sort_best_first(std::vector<Prediction>& predictions) {
  std::stable_sort(predictions.begin(), predictions.end(),
                   [](const Prediction& a, const Prediction& b) { return a.seconds < b.seconds; });
}

void look_again(Considered& considered, const Machine& machine, const std::function<Predictor(const PartitionChoice&)>& predictor,
                int most) {
  std::vector<Prediction>& all = considered.best_first;
  std::vector<Prediction> seen;
  for (; most > 0 && !all.empty(); --most) {
    const Prediction first = all.front();
    const auto is_first = [&](const Prediction& other) {
      return other.strategy == first.strategy && other.partition.text() == first.partition.text();
    };
    if (std::any_of(seen.begin(), seen.end(), is_first)) return;
    Predictor careful = predictor(first.partition);
    const Considered anew = consider(careful, machine, std::span(&first.strategy, 1));
    all.erase(all.begin());
    all.insert(all.begin(), anew.best_first.begin(), anew.best_first.end());
    considered.left_out.insert(considered.left_out.end(), anew.left_out.begin(), anew.left_out.end());
    seen.push_back(first);
    sort_best_first(all);
  }
}

std::string reason(std::span<const Prediction> best_first) {
  if (best_first.empty()) return "";
  const Prediction& best = best_first.front();
  const auto next =
      std::find_if(best_first.begin(), best_first.end(), [&](const Prediction& other) { return other.strategy != best.strategy; });
  const std::string text = name(best) + ": " + seconds_text(best.seconds);
  if (next == best_first.end()) return text + "; no other strategy can do this";
  const std::string other = name(*next) + " takes " + seconds_text(next->seconds);
  if (next->seconds < best.seconds) return text + "; " + other + ", which is too little less to leave the ring for";
  if (next->seconds < kAsLong * best.seconds) return text + "; " + other + ", which is no real difference";
  return text + "; " + other + ": the first is faster because " + difference(best, *next);
}

namespace {

/// Of a job: how large the jobs are that it is predicted from; nothing where it would take too long.
std::optional<Effort> effort_for(std::span<const int> nodes) {
  if (!wide(nodes, kEffort.most_on_a_node)) return kEffort;
  if (std::ssize(nodes) > kEffortOnWideNodes.most_whole) return std::nullopt;
  return kEffortOnWideNodes;
}

/// With what may count.
Predictor predictor_of(const Layout& layout, const Options& options, std::span<const int> nodes, const Machine& machine,
                       const Effort& effort) {
  Options settled;
  settled.partition = layout.partition;
  settled.unit_tokens = options.unit_tokens;
  settled.backward = options.backward;
  return {layout.problem, settled, {nodes.begin(), nodes.end()}, machine, effort};
}

/// That arrive at a few ranks, evenly spaced.
std::int64_t arriving_bytes_of_some(StrategyChoice strategy, const Layout& layout, Backward backward) {
  constexpr int kSome = 16;
  Options options;
  options.backward = backward;
  const Schedule schedule = make_schedule(strategy, layout, options, Pass::backward);
  std::int64_t bytes = 0;
  for (int at = 0; at < kSome; ++at) {
    const auto rank = static_cast<int>(static_cast<std::int64_t>(at) * layout.ranks / kSome);
    bytes += arriving_bytes(schedule(rank), layout);
  }
  return bytes;
}

}  // namespace

Backward choose_backward(StrategyChoice strategy, const Layout& layout, const Options& options, std::span<const int> nodes,
                         const Machine& machine) {
  if (options.backward != Backward::automatic) return options.backward;
  if (layout.ranks == 1 || !can_go_backward(strategy.kind, Backward::queries_travel)) return Backward::keys_travel;
  if (const auto effort = effort_for(nodes)) {
    return predictor_of(layout, options, nodes, machine, *effort).predict(strategy).backward;
  }
  const auto bytes = [&](Backward backward) { return arriving_bytes_of_some(strategy, layout, backward); };
  return bytes(Backward::queries_travel) < bytes(Backward::keys_travel) ? Backward::queries_travel : Backward::keys_travel;
}

Choice choose_strategy(const Layout& layout, const Options& options, std::span<const int> nodes, const Machine& machine) {
  const auto ring_because = [&](std::string why) {
    return Choice{Strategy::ring, std::move(why), choose_backward(Strategy::ring, layout, options, nodes, machine)};
  };
  if (layout.ranks == 1) return ring_because("a single rank has nobody to exchange with");
  const auto effort = effort_for(nodes);
  if (!effort)
    return ring_because(
        format("ring: more than %d ranks on nodes of more than %d are not modelled for a choice; gyre plan does "
               "that, or give a strategy",
               kEffortOnWideNodes.most_whole, kEffort.most_on_a_node));
  Predictor predictor = predictor_of(layout, options, nodes, machine, *effort);
  std::vector<Prediction> all = consider(predictor, machine).best_first;
  const auto ring = std::find_if(all.begin(), all.end(), [](const Prediction& p) { return p.strategy == Strategy::ring; });
  if (ring != all.end() && all.front().seconds > kWorthIt * ring->seconds) std::rotate(all.begin(), ring, ring + 1);
  if (all.empty()) return ring_because("no strategy fits in the memory that the machine is said to have");
  return {all.front().strategy, reason(all), all.front().backward};
}

}  // namespace gyre
