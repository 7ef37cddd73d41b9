// One benchmark: a shape timed between its bounds, and something else beside it in turns.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bench/kernels/shape.hpp"
#include "bench/kernels/stopwatch.hpp"
#include "bench/kernels/subject.hpp"
#include "kernels/team.hpp"

namespace gyre::bench {

/// What a shape is compared with, in the same run, one after the other.
struct Beside {
  std::string label;  // over what: dense, 1 thread, oneDNN
  std::function<std::unique_ptr<Subject>(Team&)> make;
  int threads = 1;
};

struct Case {
  std::string name;
  Shape shape;
  std::optional<Beside> beside{};
};

std::unique_ptr<Subject> make_subject(const Shape& shape, Team& team);

/// Counters: medians over the iterations; share_of_* is that of the mean of the bound before and after. over_beside is the ratio of
/// rates (FLOP/s), beside_share_of_peak that of the other. pack_share: what packing and finishing would take of a run's time, were
/// they spread over as many threads. Returns whether the results were within their bounds.
bool measure(benchmark::State& state, const Case& timed, Clock clock);

}  // namespace gyre::bench
