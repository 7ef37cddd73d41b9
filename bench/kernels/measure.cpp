#include "bench/kernels/measure.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "bench/kernels/backward.hpp"
#include "bench/kernels/bounds.hpp"
#include "bench/kernels/forward.hpp"

namespace gyre::bench {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Values of the iterations by counter.
class Samples {
 public:
  void add(const std::string& counter, double value) { values_[counter].push_back(value); }
  void report(benchmark::State& state) const {
    for (const auto& [counter, values] : values_) state.counters[counter] = median(values);
  }

 private:
  std::map<std::string, std::vector<double>> values_;
};

/// The other one, on threads of its own.
struct Other {
  Team team;
  std::unique_ptr<Subject> subject;
  explicit Other(const Beside& beside) : team(beside.threads), subject(beside.make(team)) {}
};

double run(Subject& subject, Clock clock) {
  subject.prepare();
  return seconds_of(clock, [&] { subject.run(); });
}

/// Long beside the loops' rounds, short beside the run.
double bound_seconds(double run_seconds) {
  return std::clamp(run_seconds / 4, 5e-4, 0.02);
}

void add(Samples& samples, const Subject& subject, const Shape& shape, double seconds, const Bounds& bounds) {
  const double rate = subject.flops() / seconds;
  samples.add("seconds", seconds);
  samples.add("GFLOP/s", rate * 1e-9);
  samples.add("GB/s", subject.bytes() / seconds * 1e-9);
  samples.add("share_of_peak", rate / bounds.flops);
  samples.add("GHz", bounds.hertz * 1e-9);
  samples.add("flops_per_cycle", rate / shape.threads / bounds.hertz);
  samples.add("peak_flops_per_cycle", bounds.flops / shape.threads / bounds.hertz);
  if (bounds.bytes_per_second > 0) {
    double bytes = 0;
    for (const std::span<const std::byte> memory : subject.reads()) bytes += static_cast<double>(memory.size());
    samples.add("read_GB/s", bounds.bytes_per_second * 1e-9);
    samples.add("share_of_read", bytes / seconds / bounds.bytes_per_second);
  }
}

/// Times the other one right after a run of that rate, between bounds of its own threads.
void add_other(Samples& samples, Other& other, const Shape& shape, Clock clock, double bound_seconds, double rate) {
  const Bounds before = measure_bounds(shape, other.team, clock, bound_seconds, {});
  const double other_rate = other.subject->flops() / run(*other.subject, clock);
  const Bounds after = measure_bounds(shape, other.team, clock, bound_seconds, {});
  samples.add("over_beside", rate / other_rate);
  samples.add("beside_share_of_peak", other_rate / mean(before, after).flops);
}

bool check(benchmark::State& state, const std::string& who, double error) {
  if (error <= 1) return true;
  const std::string message = who + ": an error of " + std::to_string(error) + " times its bound";
  std::fprintf(stderr, "gyre_bench_kernels: %s\n", message.c_str());
  state.SkipWithError(message.c_str());
  return false;
}

}  // namespace

std::unique_ptr<Subject> make_subject(const Shape& shape, Team& team) {
  return shape.pass == Pass::backward ? make_backward(shape, team) : make_forward(shape, team);
}

bool measure(benchmark::State& state, const Case& timed, Clock clock) {
  Team team(timed.shape.threads);
  const std::unique_ptr<Subject> subject = make_subject(timed.shape, team);
  const std::unique_ptr<Other> other = timed.beside ? std::make_unique<Other>(*timed.beside) : nullptr;
  // The first runs touch memory for the first time.
  const double bound = bound_seconds(run(*subject, clock));
  if (other) run(*other->subject, clock);
  const std::vector<std::span<const std::byte>> reads = subject->reads();
  const auto bounds = [&] { return measure_bounds(timed.shape, team, clock, bound, reads); };

  Samples samples;
  for (auto _ : state) {
    state.PauseTiming();
    subject->prepare();
    const Bounds before = bounds();
    state.ResumeTiming();
    const double seconds = seconds_of(clock, [&] { subject->run(); });
    state.PauseTiming();
    const Bounds after = bounds();
    add(samples, *subject, timed.shape, seconds, mean(before, after));
    if (other) add_other(samples, *other, timed.shape, clock, bound, subject->flops() / seconds);
    state.ResumeTiming();
  }
  samples.report(state);
  state.counters["flops"] = subject->flops();
  state.counters["bytes"] = subject->bytes();
  if (other) state.SetLabel("over " + timed.beside->label);
  const double error = subject->error();  // before the results are gone
  state.counters["error_of_bound"] = error;
  if (timed.shape.pass != Pass::backward) {
    subject->pack_and_finish();
    const double pack_seconds = seconds_of(clock, [&] { subject->pack_and_finish(); });
    state.counters["pack_share"] = pack_seconds / state.counters["seconds"] / timed.shape.threads;
  }
  return check(state, timed.name, error) && (!other || check(state, timed.beside->label, other->subject->error()));
}

}  // namespace gyre::bench
