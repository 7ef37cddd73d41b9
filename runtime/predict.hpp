// How long a job would take by each strategy: the model behind `gyre plan` and `--strategy auto`.
//
// Up to a few dozen ranks the programs of all ranks are simulated. A larger job is predicted from smaller ones of p, 2p and 4p
// ranks with the same share of tokens for each rank and the same nodes: for every further node, schedules do the same again. So
// what all ranks send is a + bP + cP^2 (the ends of the sequence, what every rank has, what every pair of ranks has), and what the
// busiest rank does grows along a line, once there are several nodes:
//
//   seconds(P) = seconds(4p) + (seconds(4p) - seconds(2p)) (P - 4p) / 2p
//
// but for seconds that grow faster than that from p to 4p (many ranks that ask one node at once): they go on along a parabola.
//
// Masks keep their own lengths, and are cut off where the smaller job ends. Where their visible pairs do not go on from there as
// they began (windows or documents of more tokens than that), the smaller jobs are doubled, as far as that is affordable.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "runtime/machine.hpp"
#include "runtime/problem.hpp"
#include "runtime/simulate.hpp"
#include "runtime/strategy.hpp"

namespace gyre {

/// One way to do a job. Of ranks, seconds are those of the slowest or busiest, bytes the mean and memory the most. Where gradients
/// are asked for it is of two calls, forward and backward, one after the other.
struct Prediction {
  StrategyChoice strategy;
  PartitionChoice partition;
  Backward backward = Backward::none;  // or what travels backward
  double seconds = 0;
  double exposed_communication_seconds = 0;  // what is left of it if the busiest rank's work is taken away
  double computing_seconds = 0;
  double packing_seconds = 0;
  double bytes_sent_per_rank = 0;
  double bytes_borrowed_per_rank = 0;
  double bytes_between_nodes = 0;  // of all ranks
  double messages_per_rank = 0;
  double memory_bytes_per_rank = 0;
  int simulated_ranks = 0;  // as many as there are, or fewer
};

/// How large the jobs are that are simulated.
struct Effort {
  int most_whole = 64;       // ranks of a job that is simulated whole
  int least_projected = 16;  // ranks of the smallest of the jobs that a larger one is predicted from
  int most_projected = 128;  // and the most of the largest, but where nodes and groups are larger
  int most_on_a_node = 8;    // of such jobs: larger nodes are taken for several of these, which share their links
};

class Predictor {
 public:
  /// nodes: of every rank, from 0; where there are more ranks than are simulated, nodes of equal size, one after the other, are
  /// assumed. options: partition, unit, prefetch, sharing and backward count. Local; allocates.
  Predictor(Problem problem, Options options, std::vector<int> nodes, Machine machine, Effort effort = {});
  ~Predictor();

  /// strategy: resolved. What travels backward is what takes less time, if that is left open; keys if both take the same. Throws
  /// std::invalid_argument where it cannot be done.
  Prediction predict(StrategyChoice strategy);

  /// What is simulated of a strategy, forward: the job itself, or the least of the smaller ones. It lives as long as the predictor.
  struct Job {
    const Layout& layout;
    std::span<const int> nodes;
    const Machine& machine;  // its links may be shares of a larger node's
    Schedule schedule;
    PairCounts& counts;
    Simulation simulate(const Watch& watch = {}) const { return gyre::simulate(schedule, nodes, machine, counts, watch); }
  };
  Job job(StrategyChoice strategy);

  /// Every strategy that can be done, with the groups that are worth a thought: groups of ranks of one node, or of as many ranks as
  /// there are key/value heads, and what divides them. Resolved; if gradients are asked for, those that give them.
  std::vector<StrategyChoice> candidates() const;

 private:
  struct Scene;
  void take_smaller_nodes();
  Scene& scene(int ranks);
  Job job_of(int ranks, StrategyChoice strategy, Backward backward = Backward::none);
  Prediction simulate_on(int ranks, StrategyChoice strategy, Backward backward);
  Prediction predict_call(StrategyChoice strategy, Backward backward);
  double pairs_per_rank(int ranks) const;
  int smallest_job(int group) const;
  Problem scaled(int ranks) const;

  Problem problem_;
  Options options_;
  std::vector<int> nodes_;
  Machine machine_;
  Effort effort_;
  int ranks_per_node_ = 1;
  std::map<int, std::unique_ptr<Scene>> scenes_;  // by ranks
};

}  // namespace gyre
