// What is timed: a kernel of ours, or of another library beside it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace gyre::bench {

class Subject {
 public:
  Subject() = default;
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  virtual void prepare() {}          // before every run, not timed
  virtual void run() = 0;            // timed
  virtual double error() = 0;        // after a run: the largest error over its bound, of some results
  virtual double flops() const = 0;  // of a run: multiplications and additions of what the mask lets through
  virtual double bytes() const = 0;  // that a run reads and writes at least
  /// Memory whose reading bounds a run, if reading does and not multiplying.
  virtual std::vector<std::span<const std::byte>> reads() const { return {}; }
  /// What a caller pays before and after a run: rows into cells and results into rows, on one thread. Nothing where nothing is
  /// moved.
  virtual void pack_and_finish() {}
};

}  // namespace gyre::bench
