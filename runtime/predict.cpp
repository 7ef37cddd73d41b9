#include "runtime/predict.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "runtime/borrowing.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/simulate.hpp"

namespace gyre {
namespace {

// Coarser units than those of the kernels do, since tiles are counted exactly all the same: what makes a difference is how evenly
// they can be dealt out.
constexpr int kMostUnits = 512, kUnitsPerRank = 8;

/// Of jobs of p, 2p and 4p ranks, in this order, the same of P ranks.
struct Growth {
  std::array<double, 3> found;
  double jobs;  // P / p

  /// Of a mean of all ranks: a/P + b + cP, which has in it what every pair of ranks adds, every rank, and the ends of the sequence.
  double mean() const {
    const double total[] = {found[0], 2 * found[1], 4 * found[2]};
    const double slope = total[1] - total[0], bend = ((total[2] - total[1]) / 2 - slope) / 3;
    return std::max(0.0, (total[0] + (jobs - 1) * (slope + bend * (jobs - 2))) / jobs);
  }
  /// Of a rank that has most: a line, or what it is already.
  double line() const { return found[2] + std::max(0.0, found[2] - found[1]) / 2 * (jobs - 4); }
  /// The same where small jobs differ by the luck of their units: the lesser of both slopes.
  double cautious_line() const {
    return found[2] + std::max(0.0, std::min(found[1] - found[0], (found[2] - found[1]) / 2)) * (jobs - 4);
  }
  /// Where many ranks ask one node at once, that grows faster than along a line, and goes on along a parabola.
  double line_or_parabola() const {
    const double first = found[1] - found[0], second = found[2] - found[1];
    const bool bends = second > 3 * first && second - 2 * first > 0.2 * found[2];
    return line() + (bends ? (second - 2 * first) / 6 * (jobs - 2) * (jobs - 4) : 0);
  }
};

double busy_seconds(const Prediction& job) {
  return job.seconds - job.exposed_communication_seconds;
}

Prediction extended(const std::array<Prediction, 3>& jobs, double count) {
  const auto growth = [&](auto&& of) { return Growth{{of(jobs[0]), of(jobs[1]), of(jobs[2])}, count}; };
  const auto field = [&](double Prediction::*which) { return growth([&](const Prediction& job) { return job.*which; }); };
  Prediction whole = jobs[2];
  for (double Prediction::*mean : {&Prediction::bytes_sent_per_rank, &Prediction::bytes_borrowed_per_rank,
                                   &Prediction::bytes_between_nodes, &Prediction::messages_per_rank})
    whole.*mean = field(mean).mean();
  for (double Prediction::*most : {&Prediction::packing_seconds, &Prediction::memory_bytes_per_rank})
    whole.*most = field(most).cautious_line();
  whole.computing_seconds = field(&Prediction::computing_seconds).line();
  const double busy = growth(busy_seconds).line();
  whole.seconds = std::max(busy, field(&Prediction::seconds).line_or_parabola());
  whole.exposed_communication_seconds = whole.seconds - busy;
  return whole;
}

/// One call after the other, in the same memory.
Prediction both(const Prediction& forward, const Prediction& backward) {
  Prediction sum = backward;
  for (double Prediction::*part :
       {&Prediction::seconds, &Prediction::exposed_communication_seconds, &Prediction::computing_seconds,
        &Prediction::packing_seconds, &Prediction::bytes_sent_per_rank, &Prediction::bytes_borrowed_per_rank,
        &Prediction::bytes_between_nodes, &Prediction::messages_per_rank})
    sum.*part += forward.*part;
  sum.memory_bytes_per_rank = std::max(forward.memory_bytes_per_rank, backward.memory_bytes_per_rank);
  return sum;
}

int most_on_a_node(std::span<const int> nodes) {
  std::map<int, int> ranks;
  int most = 1;
  for (const int node : nodes) most = std::max(most, ++ranks[node]);
  return most;
}

}  // namespace

/// A job that is simulated: whole, or a smaller one like it.
struct Predictor::Scene {
  Layout layout;
  std::vector<int> nodes;
  PairCounts counts;
  Scene(const Problem& problem, const Options& options, std::vector<int> of_ranks)
      : layout(problem, options, static_cast<int>(of_ranks.size())), nodes(std::move(of_ranks)), counts(layout) {}
};

Predictor::Predictor(Problem problem, Options options, std::vector<int> nodes, Machine machine, Effort effort)
    : problem_(std::move(problem)),
      options_(std::move(options)),
      nodes_(std::move(nodes)),
      machine_(std::move(machine)),
      effort_(effort),
      ranks_per_node_(most_on_a_node(nodes_)) {
  take_smaller_nodes();
  const std::int64_t tokens = std::max(problem_.query_tokens, problem_.key_tokens);
  const auto ranks = static_cast<std::int64_t>(nodes_.size());
  const UnitTokens lengths = unit_tokens_of(problem_, options_, static_cast<int>(ranks));
  const std::int64_t real = std::max(lengths.queries, lengths.keys);
  options_.unit_tokens = std::max(real, tokens / std::max<std::int64_t>(kMostUnits, ranks * kUnitsPerRank));
}

Predictor::~Predictor() = default;

void Predictor::take_smaller_nodes() {
  if (std::ssize(nodes_) <= effort_.most_whole || ranks_per_node_ <= effort_.most_on_a_node) return;
  int smaller = effort_.most_on_a_node;
  while (ranks_per_node_ % smaller != 0) --smaller;
  machine_.link_bytes_per_second *= static_cast<double>(smaller) / ranks_per_node_;
  for (int rank = 0; rank < std::ssize(nodes_); ++rank) nodes_[rank] = rank / smaller;
  ranks_per_node_ = smaller;
}

Problem Predictor::scaled(int ranks) const {
  Problem problem = problem_;
  const auto all = static_cast<std::int64_t>(nodes_.size());
  if (ranks == all) return problem;
  problem.key_tokens = problem.key_tokens * ranks / all;
  if (problem.query_tokens >= all) problem.query_tokens = problem.query_tokens * ranks / all;  // a few queries stay a few
  return problem;
}

Predictor::Scene& Predictor::scene(int ranks) {
  std::unique_ptr<Scene>& found = scenes_[ranks];
  if (!found) {
    std::vector<int> nodes = nodes_;
    nodes.resize(ranks);
    if (ranks < std::ssize(nodes_))
      for (int rank = 0; rank < ranks; ++rank) nodes[rank] = rank / ranks_per_node_;
    found = std::make_unique<Scene>(scaled(ranks), options_, std::move(nodes));
  }
  return *found;
}

double Predictor::pairs_per_rank(int ranks) const {
  return scaled(ranks).visible_pairs() / ranks;
}

/// Ranks of the smallest of the jobs; 0 if the job is simulated whole.
int Predictor::smallest_job(int group) const {
  const auto all = static_cast<int>(nodes_.size());
  const int step = std::lcm(ranks_per_node_, group);
  int ranks = std::max(2, (effort_.least_projected + step - 1) / step) * step;
  const auto goes_on = [&] {
    const Growth pairs{{pairs_per_rank(ranks), pairs_per_rank(2 * ranks), pairs_per_rank(4 * ranks)},
                       static_cast<double>(all) / ranks};
    return std::abs(pairs.mean() - pairs_per_rank(all)) <= 0.03 * pairs_per_rank(all);
  };
  while (4 * ranks < all && 8 * ranks <= effort_.most_projected && !goes_on()) ranks *= 2;
  return all <= effort_.most_whole || 4 * ranks >= all ? 0 : ranks;
}

/// backward: none for a forward call.
Predictor::Job Predictor::job_of(int ranks, StrategyChoice strategy, Backward backward) {
  Scene& on = scene(ranks);
  Options options = options_;
  options.backward = backward;
  Schedule schedule = make_schedule(strategy, on.layout, options, backward == Backward::none ? Pass::forward : Pass::backward);
  if (machine_.shares_memory && options_.sharing != Sharing::off && ranks_per_node_ > 1)
    schedule = borrow_inside_nodes(std::move(schedule), on.layout, on.nodes);
  return {on.layout, on.nodes, machine_, std::move(schedule), on.counts};
}

Predictor::Job Predictor::job(StrategyChoice strategy) {
  const auto all = static_cast<int>(nodes_.size());
  const int ranks = smallest_job(strategy.group > 0 && strategy.group < all ? strategy.group : 1);
  return job_of(ranks == 0 ? all : ranks, strategy);
}

Prediction Predictor::simulate_on(int ranks, StrategyChoice strategy, Backward backward) {
  const Job job = job_of(ranks, strategy, backward);
  const Simulation simulation = job.simulate();
  Prediction prediction{.strategy = strategy,
                        .partition = job.layout.partition,
                        .backward = backward,
                        .seconds = simulation.seconds(),
                        .exposed_communication_seconds = simulation.exposed_communication_seconds(),
                        .simulated_ranks = ranks};
  for (const SimulatedRank& rank : simulation.ranks) {
    prediction.computing_seconds = std::max(prediction.computing_seconds, rank.computing_seconds);
    prediction.packing_seconds = std::max(prediction.packing_seconds, rank.packing_seconds);
    prediction.bytes_sent_per_rank += static_cast<double>(rank.bytes_sent) / ranks;
    prediction.bytes_borrowed_per_rank += static_cast<double>(rank.bytes_borrowed) / ranks;
    prediction.bytes_between_nodes += static_cast<double>(rank.bytes_between_nodes);
    prediction.messages_per_rank += static_cast<double>(rank.messages) / ranks;
    prediction.memory_bytes_per_rank = std::max(prediction.memory_bytes_per_rank, static_cast<double>(rank.memory_bytes));
  }
  return prediction;
}

Prediction Predictor::predict(StrategyChoice strategy) {
  Prediction forward = predict_call(strategy, Backward::none);
  if (options_.backward == Backward::none) return forward;
  if (options_.backward != Backward::automatic) return both(forward, predict_call(strategy, options_.backward));
  const Prediction keys = predict_call(strategy, Backward::keys_travel);
  if (!can_go_backward(strategy.kind, Backward::queries_travel)) return both(forward, keys);
  const Prediction queries = predict_call(strategy, Backward::queries_travel);
  return both(forward, queries.seconds < keys.seconds ? queries : keys);
}

/// backward: none for a forward call.
Prediction Predictor::predict_call(StrategyChoice strategy, Backward backward) {
  const auto all = static_cast<int>(nodes_.size());
  // Groups of all ranks stay that: what matters is how many heads they share.
  const int group = strategy.group > 0 && strategy.group < all ? strategy.group : 1;
  const int ranks = smallest_job(group);
  if (ranks == 0) return simulate_on(all, strategy, backward);
  if (strategy.group == all) throw std::invalid_argument("strategy " + to_string(strategy) + " has one group; name it ulysses");
  const auto per_rank = [&](int of) {
    Prediction job = simulate_on(of, strategy, backward);
    job.bytes_between_nodes /= of;
    return job;
  };
  Prediction whole = extended({per_rank(ranks), per_rank(2 * ranks), per_rank(4 * ranks)}, static_cast<double>(all) / ranks);
  whole.bytes_between_nodes *= all;
  return whole;
}

std::vector<StrategyChoice> Predictor::candidates() const {
  const auto ranks = static_cast<int>(nodes_.size());
  std::vector<StrategyChoice> all{Strategy::ring};
  if (ranks == 1) return all;
  for (const Strategy kind : {Strategy::bidirectional_ring, Strategy::double_ring}) {
    try {
      const StrategyChoice choice = resolve(kind, nodes_);
      if (kind != Strategy::double_ring || (choice.group > 1 && choice.group < ranks)) all.push_back(choice);
    } catch (const std::invalid_argument&) {
      continue;  // nodes of different sizes
    }
  }
  all.emplace_back(Strategy::all_gather);
  all.emplace_back(Strategy::ulysses);
  const int most = std::min(ranks / 2, std::max(ranks_per_node_, problem_.key_heads));
  for (int group = 2; group <= most; ++group) {
    const bool fits = ranks_per_node_ % group == 0 || problem_.key_heads % group == 0 || group % ranks_per_node_ == 0;
    if (ranks % group == 0 && fits) all.emplace_back(Strategy::hybrid, group);
  }
  all.emplace_back(Strategy::pass_query);
  all.emplace_back(Strategy::tree);
  if (options_.backward != Backward::none)
    std::erase_if(all, [&](StrategyChoice choice) { return !can_go_backward(choice.kind, options_.backward); });
  return all;
}

}  // namespace gyre
