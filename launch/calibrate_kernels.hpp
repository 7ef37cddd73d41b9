// What kernels reach on one rank, as a machine file wants it (KernelModel).
#pragma once

#include <memory>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/team.hpp"
#include "launch/calibrate_request.hpp"
#include "runtime/machine.hpp"

namespace gyre {

/// Every rank measures at the same time, as ranks of a job compute; each figure is the median of its rounds on a rank, and of these
/// over the ranks. One thread. Rates are what is left of long attends without attend_seconds and row_unit_seconds. Collective; the
/// same on every rank.
KernelModel measure_kernels(Transport& transport, const CalibrateRequest& request);

/// Computing that can be timed: an attend of a few milliseconds at head dim 64 in f32.
class TimedWork {
 public:
  explicit TimedWork(const CalibrationSizes& sizes);
  ~TimedWork();
  /// `poll` is called often.
  void run(FunctionRef<void()> poll);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

double median_of(std::vector<double> values);
double seconds_now();

}  // namespace gyre
