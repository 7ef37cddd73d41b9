#include "launch/predicted_call.hpp"

#include "launch/trace_events.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

/// Rectangles of query and key units whose visible pairs have to be counted for a program.
double rectangles_of(const Program& program) {
  std::vector<std::uint32_t> rows(program.slots.size());  // [slot] runs of queries that a partial accumulates for
  double rectangles = 0;
  for (const Instruction& instruction : program.instructions) {
    if (instruction.function == Function::clear) rows[instruction.out] = instruction.run_count;
    if (attends(instruction.op)) rectangles += static_cast<double>(rows[instruction.out]) * instruction.run_count;
  }
  return rectangles;
}

/// Why a prediction would take too long, if all ranks are like the first; empty if it does not.
std::string too_much(const Schedule& schedule, int ranks) {
  const Program first = schedule(0);
  const double instructions = static_cast<double>(first.instructions.size()) * ranks;
  if (instructions > kMostPredictedInstructions)
    return format("some %.0f instructions of %d ranks, and at most %.0f are simulated beside a run; gyre plan does more",
                  instructions, ranks, kMostPredictedInstructions);
  const double rectangles = rectangles_of(first) * ranks;
  if (rectangles > kMostPredictedRectangles)
    return format("some %.0f rectangles of units, and the pairs of at most %.0f are counted beside a run; gyre plan does more",
                  rectangles, kMostPredictedRectangles);
  return "";
}

}  // namespace

PredictedCall predict_call(const Schedule& schedule, const Layout& layout, std::span<const int> nodes, const Machine& machine) {
  PredictedCall predicted;
  predicted.machine = machine.name;
  predicted.left_out = too_much(schedule, layout.ranks);
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
