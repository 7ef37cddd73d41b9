#include "launch/predicted_call.hpp"

#include "launch/trace_events.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

/// Why a prediction would take too long; empty if it does not.
std::string too_much(const Schedule& schedule, const Layout& layout) {
  const double instructions = static_cast<double>(schedule(0).instructions.size()) * layout.ranks;
  if (instructions > kMostPredictedInstructions)
    return format(
        "the programs of %d ranks have some %.0f instructions, and at most %.0f are simulated beside a run; gyre plan does more",
        layout.ranks, instructions, kMostPredictedInstructions);
  const double tiles = static_cast<double>(layout.query_units.count()) * layout.key_units.count();
  if (tiles > kMostPredictedTiles)
    return format("there are %.0f tiles of units, and at most %.0f are counted beside a run; gyre plan does more", tiles,
                  kMostPredictedTiles);
  return "";
}

}  // namespace

PredictedCall predict_call(const Schedule& schedule, const Layout& layout, std::span<const int> nodes, const Machine& machine) {
  PredictedCall predicted;
  predicted.machine = machine.name;
  predicted.left_out = too_much(schedule, layout);
  if (!predicted.left_out.empty()) return predicted;
  predicted.schedule = schedule;
  predicted.events.resize(nodes.size());
  PairCounts counts(layout);
  predicted.seconds = simulate(schedule, nodes, machine, counts, [&](int rank, const TimelineEvent& event) {
                        predicted.events[static_cast<std::size_t>(rank)].push_back(event);
                      }).seconds();
  return predicted;
}

void write_predicted_events(const PredictedCall& predicted, const Layout& layout, double begin_seconds,
                            const std::function<void(std::string_view)>& sink) {
  const TraceFrame frame{
      .label = "predicted, as on " + predicted.machine, .to_trace_seconds = begin_seconds, .told = Told::predicted};
  for (std::size_t rank = 0; rank < predicted.events.size(); ++rank) {
    sink(",\n");
    write_trace_events(predicted.schedule(static_cast<int>(rank)), layout, predicted.events[rank], frame, sink);
  }
}

}  // namespace gyre
