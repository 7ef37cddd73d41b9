// A communicator as Python gives it, and the ranks of it.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <stdexcept>

#include "runtime/bindings/ranks.hpp"

namespace gyre::python {

class Communicator {
 public:
  /// None, an mpi4py communicator (anything with py2f()), or a Fortran handle. Collective over it.
  explicit Communicator(nanobind::handle given);

  Transport& transport() const { return ranks_.transport(); }
  const Ranks& ranks() const { return ranks_; }

  /// Runs a step that blocks, without the interpreter's lock. A second thread is refused while it runs: ranks would meet each
  /// other's calls in different orders.
  template <class Step>
  decltype(auto) work(Step&& step) {
    if (busy_.test_and_set())
      throw std::runtime_error("another thread is in a call on this communicator; make a second one for it");
    const Guard guard{busy_};
    const nanobind::gil_scoped_release unlocked;
    return step();
  }

 private:
  struct Guard {
    std::atomic_flag& busy;
    ~Guard() { busy.clear(); }
  };
  Ranks ranks_;
  std::atomic_flag busy_;
};

/// The object itself if it is a Communicator, else a new one. New ones of several ranks end the job if this rank raises and does
/// not catch it.
std::shared_ptr<Communicator> communicator_of(nanobind::handle given);

void bind_communicator(nanobind::module_& module);

}  // namespace gyre::python
