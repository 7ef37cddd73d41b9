// The compute threads of one rank.
//
// Thread 0 is the caller: it computes like the others and, between tiles, polls the transport; nobody else calls MPI.
#pragma once

#include <atomic>
#include <memory>
#include <type_traits>

namespace gyre {

/// A callable that is borrowed for the length of a call; no allocation. The callable must outlive the reference.
template <class Signature>
class FunctionRef;
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class Callable>
  requires(!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>)
      // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): the requirement above keeps copies out
      FunctionRef(Callable&& callable)  // not explicit: a view, made where it is used
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, Arguments... arguments) -> Result {
          return (*static_cast<std::remove_reference_t<Callable>*>(object))(arguments...);
        }) {}
  Result operator()(Arguments... arguments) const { return call_(object_, arguments...); }

 private:
  void* object_;
  Result (*call_)(void*, Arguments...);
};

class Team {
 public:
  /// threads - 1 workers are started and wait. Throws std::invalid_argument if threads < 1.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const;

  /// Calls body(task, worker) once for every task in [0, tasks), taken dynamically in ascending order, and returns when all are
  /// done. While others still work, worker 0 (the caller) calls idle() repeatedly. The first exception of a body is rethrown here;
  /// tasks not yet taken are then dropped. Allocates nothing.
  void run(int tasks, FunctionRef<void(int task, int worker)> body, FunctionRef<void()> idle);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gyre
