#include "launch/measure.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace gyre {
namespace {

constexpr double kPeakSeconds = 0.03;

/// The call of the whole job in one repetition: `calls` of its ranks.
CallTime slowest(std::span<const CallTime> calls) {
  CallTime most;
  for (const CallTime& call : calls) {
    most.total_seconds = std::max(most.total_seconds, call.total_seconds);
    most.computing_seconds = std::max(most.computing_seconds, call.computing_seconds);
    most.packing_seconds = std::max(most.packing_seconds, call.packing_seconds);
    most.waiting_seconds = std::max(most.waiting_seconds, call.waiting_seconds);
  }
  return most;
}

}  // namespace

Measurement measure_forward(Transport& transport, Attention& attention, const Operands& operands, int repetitions, bool warm_up) {
  if (warm_up) attention.forward(operands);
  const std::uint64_t sent_before = transport.traffic().bytes_sent;
  std::vector<CallTime> of_ranks(static_cast<std::size_t>(transport.ranks())), of_job;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    transport.barrier();
    all_gather_value<CallTime>(transport, attention.forward(operands), of_ranks);
    of_job.push_back(slowest(of_ranks));
  }
  const std::uint64_t sent = sum_over_ranks(transport, transport.traffic().bytes_sent - sent_before);

  const auto median = of_job.begin() + (repetitions - 1) / 2;  // the lower one, so that it is a call that took place
  std::nth_element(of_job.begin(), median, of_job.end(),
                   [](const CallTime& a, const CallTime& b) { return a.total_seconds < b.total_seconds; });
  return {.repetitions = repetitions, .call = *median, .bytes_sent = sent / static_cast<std::uint64_t>(repetitions)};
}

double measure_peak_flops(Transport& transport, Team& team, const KernelTable& kernels) {
  std::vector<double> of_threads(static_cast<std::size_t>(team.size()));
  transport.barrier();
  team.run(
      team.size(), [&](int task, int) { of_threads[static_cast<std::size_t>(task)] = kernels.peak_flops(kPeakSeconds); }, [] {});
  return sum_over_ranks(transport, std::accumulate(of_threads.begin(), of_threads.end(), 0.0));
}

}  // namespace gyre
