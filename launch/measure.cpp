#include "launch/measure.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>
#include <string>

#include "runtime/text.hpp"

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

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + (static_cast<std::ptrdiff_t>(values.size()) - 1) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Calls of one kind: how long each took this rank, and how long the job.
struct Series {
  std::vector<CallTime> mine;
  std::vector<double> seconds;
  double cpu_seconds = 0;  // of this process, all calls together

  std::size_t median_call() const {
    return static_cast<std::size_t>(std::find(seconds.begin(), seconds.end(), median(seconds)) - seconds.begin());
  }
  double mean_cpu_seconds(Transport& transport, bool ranks_share_process) const {
    const double mean = cpu_seconds / static_cast<double>(seconds.size());
    return ranks_share_process ? maximum_over_ranks(transport, mean) : sum_over_ranks(transport, mean);
  }
};

class Caller {
 public:
  Caller(Transport& transport, const Call& call, const CallPlan& plan)
      : transport_(transport), call_(call), plan_(plan), live_(plan.live) {}

  void call(const std::string& name, Wire wire, Series& into, RecordedCall* record = nullptr) {
    transport_.barrier();
    if (live_ != nullptr) live_->begin_call(name);
    const double cpu_before = process_cpu_seconds();
    if (record != nullptr) record->began_seconds = now_seconds();
    into.mine.push_back(call_({.wire = wire,
                               .timeline = record != nullptr ? &record->timeline : nullptr,
                               .progress = live_ != nullptr ? live_->progress() : nullptr,
                               .replay = plan_.replay}));
    into.seconds.push_back(maximum_over_ranks(transport_, into.mine.back().total_seconds));
    into.cpu_seconds += process_cpu_seconds() - cpu_before;
    if (live_ != nullptr) live_->end_call();
  }

 private:
  Transport& transport_;
  const Call& call_;
  const CallPlan& plan_;
  LiveLine* live_;
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

std::optional<double> Measurement::exposed_communication_seconds() const {
  if (!silent) return std::nullopt;
  return std::max(0.0, seconds - silent->seconds);
}

int calls_of(const CallPlan& plan) {
  return plan.repetitions * (plan.silent_too ? 2 : 1) + (plan.warm_up || plan.silent_too ? 1 : 0);
}

Measurement measure_calls(Transport& transport, const Call& call, const CallPlan& plan, const std::string& pass) {
  Caller caller(transport, call, plan);
  Series warm_up, live, silent;
  if (plan.warm_up || plan.silent_too) caller.call(pass + "warm-up", Wire::live, warm_up);
  const Traffic before = transport.traffic();
  for (int repetition = 1; repetition <= plan.repetitions; ++repetition) {
    const std::string name =
        pass + (plan.repetitions == 1 ? "attending" : format("repetition %d of %d", repetition, plan.repetitions));
    if (plan.silent_too) caller.call(name + " without communication", Wire::silent, silent);
    caller.call(name, Wire::live, live, repetition == plan.repetitions ? plan.record : nullptr);
  }
  const Traffic after = transport.traffic();

  const auto count = static_cast<std::uint64_t>(plan.repetitions);
  const auto [fastest, slowest] = std::minmax_element(live.seconds.begin(), live.seconds.end());
  Measurement measured{.repetitions = plan.repetitions,
                       .seconds = median(live.seconds),
                       .fastest_seconds = *fastest,
                       .slowest_seconds = *slowest,
                       .ranks = std::vector<RankFigures>(static_cast<std::size_t>(transport.ranks())),
                       .cpu_seconds = live.mean_cpu_seconds(transport, plan.ranks_share_process),
                       .silent = std::nullopt};
  if (plan.silent_too)
    measured.silent = {.seconds = median(silent.seconds),
                       .cpu_seconds = silent.mean_cpu_seconds(transport, plan.ranks_share_process)};
  all_gather_value<RankFigures>(transport,
                                {.call = live.mine[live.median_call()],
                                 .bytes_sent = (after.bytes_sent - before.bytes_sent) / count,
                                 .bytes_borrowed = (after.bytes_borrowed - before.bytes_borrowed) / count},
                                measured.ranks);
  return measured;
}

double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels, Type cells) {
  std::vector<double> of_threads(static_cast<std::size_t>(team.size()));
  transport.barrier();
  team.run(
      team.size(), [&](int task, int) { of_threads[static_cast<std::size_t>(task)] = peak_flops(kernels, cells, kPeakSeconds); },
      [] {});
  return sum_over_ranks(transport, std::accumulate(of_threads.begin(), of_threads.end(), 0.0));
}

}  // namespace gyre
