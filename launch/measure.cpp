#include "launch/measure.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <numeric>
#include <span>

namespace gyre {
namespace {

constexpr double kPeakSeconds = 0.03;

/// Seconds of all cores together that this process has had, in its own code and in the system's on its behalf.
double process_cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <class Value>
Spread spread_over(std::span<const RankFigures> ranks, Value&& value) {
  Spread spread;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const double here = value(ranks[rank]);
    if (here > spread.most) spread.most = here, spread.rank = static_cast<int>(rank);
    spread.mean += here / static_cast<double>(ranks.size());
  }
  return spread;
}

/// Calls of this rank, and how long each took the job.
struct Repetitions {
  std::vector<CallTime> mine;
  std::vector<double> seconds;

  std::size_t median() const {
    std::vector<std::size_t> order(seconds.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto middle = order.begin() + (static_cast<std::ptrdiff_t>(order.size()) - 1) / 2;
    std::nth_element(order.begin(), middle, order.end(), [&](std::size_t a, std::size_t b) { return seconds[a] < seconds[b]; });
    return *middle;
  }
};

}  // namespace

Spread Measurement::spread(double CallTime::*part) const {
  return spread_over(ranks, [&](const RankFigures& rank) { return rank.call.*part; });
}

Spread Measurement::spread(std::uint64_t RankFigures::*part) const {
  return spread_over(ranks, [&](const RankFigures& rank) { return static_cast<double>(rank.*part); });
}

std::uint64_t Measurement::sum(std::uint64_t RankFigures::*part) const {
  return std::accumulate(ranks.begin(), ranks.end(), std::uint64_t{0},
                         [&](std::uint64_t sum, const RankFigures& rank) { return sum + rank.*part; });
}

Measurement measure_forward(Transport& transport, Attention& attention, const Operands& operands, int repetitions, bool warm_up,
                            bool ranks_share_process) {
  if (warm_up) attention.forward(operands);
  const Traffic before = transport.traffic();
  double cpu_seconds = 0;
  Repetitions calls;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    transport.barrier();
    const double cpu_before = process_cpu_seconds();
    calls.mine.push_back(attention.forward(operands));
    calls.seconds.push_back(maximum_over_ranks(transport, calls.mine.back().total_seconds));
    cpu_seconds += process_cpu_seconds() - cpu_before;
  }
  const Traffic after = transport.traffic();

  const std::size_t median = calls.median();
  const auto count = static_cast<std::uint64_t>(repetitions);
  const auto [fastest, slowest] = std::minmax_element(calls.seconds.begin(), calls.seconds.end());
  Measurement measured{.repetitions = repetitions,
                       .seconds = calls.seconds[median],
                       .fastest_seconds = *fastest,
                       .slowest_seconds = *slowest,
                       .ranks = std::vector<RankFigures>(static_cast<std::size_t>(transport.ranks())),
                       .cpu_seconds = ranks_share_process ? maximum_over_ranks(transport, cpu_seconds / repetitions)
                                                          : sum_over_ranks(transport, cpu_seconds / repetitions)};
  all_gather_value<RankFigures>(
      transport, {.call = calls.mine[median], .bytes_sent = (after.bytes_sent - before.bytes_sent) / count}, measured.ranks);
  return measured;
}

double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels) {
  std::vector<double> of_threads(static_cast<std::size_t>(team.size()));
  transport.barrier();
  team.run(
      team.size(), [&](int task, int) { of_threads[static_cast<std::size_t>(task)] = kernels.peak_flops(kPeakSeconds); }, [] {});
  return sum_over_ranks(transport, std::accumulate(of_threads.begin(), of_threads.end(), 0.0));
}

}  // namespace gyre
