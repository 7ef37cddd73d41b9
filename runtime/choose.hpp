// Which strategy does a job soonest, and why.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/machine.hpp"
#include "runtime/predict.hpp"

namespace gyre {

/// Predictions of one job, and what was left out: by name, with the reason.
struct Considered {
  std::vector<Prediction> best_first;
  std::vector<std::string> left_out;
};

/// Every strategy of the predictor. Those that do not fit in machine.memory_bytes_per_rank are left out.
Considered consider(Predictor& predictor, const Machine& machine);
/// These alone, resolved.
Considered consider(Predictor& predictor, const Machine& machine, std::span<const StrategyChoice> strategies);
void sort_best_first(std::vector<Prediction>& predictions);

/// Predictions from small jobs tell which strategies are worth more: the first is predicted anew with this effort, until the first
/// is one that was, or `most` have been. predictor: for one of their placements, with that effort.
inline constexpr Effort kSecondLook{.most_whole = 256, .least_projected = 64, .most_projected = 256};
void look_again(Considered& considered, const Machine& machine, const std::function<Predictor(const PartitionChoice&)>& predictor,
                int most);

/// One sentence: what the first has that the best of another strategy has not. Empty without predictions.
std::string reason(std::span<const Prediction> best_first);

struct Choice {
  StrategyChoice strategy;
  std::string why;
  Backward backward = Backward::none;  // or what travels backward; never automatic
};

/// For `--strategy auto`, where the placement is settled. If gradients are asked for, of a forward and a backward call together.
/// Another strategy than the ring has to be sooner by a twentieth: less is within what predictions are worth. A pure function, the
/// same on every rank that has the same arguments; and so that no bit of a result depends on them, threads, prefetch, sharing and
/// integrity do not count. A few milliseconds for jobs of few ranks. Nodes of more than 8 ranks are simulated whole, up to 64
/// ranks: 0.65 s of a virtual core of Zen 4, by `time gyre plan --ranks 64
/// --ranks-per-node 64 --tokens 1000000 --heads 32 --kv-heads 8 --mask causal --partition zigzag`; 1.2 s if striped and full. More
/// ranks on such nodes take the ring.
Choice choose_strategy(const Layout& layout, const Options& options, std::span<const int> nodes, const Machine& machine);

/// What travels backward where the strategy is settled (resolved) and that is left open, likewise; on nodes that are not modelled,
/// whichever lets fewer bytes arrive. What cannot be done is not refused here: make_schedule() does that.
Backward choose_backward(StrategyChoice strategy, const Layout& layout, const Options& options, std::span<const int> nodes,
                         const Machine& machine);

}  // namespace gyre
