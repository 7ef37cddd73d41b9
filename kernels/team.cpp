#include "kernels/team.hpp"

#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace gyre {
namespace {

/// How often a worker looks for new work before it sleeps: some microseconds, about what waking a sleeper costs. More would take
/// the core from those who compute when there are more threads than cores.
constexpr int kSpins = 256;

}  // namespace

/// One generation is one call of run(). The fields of a job are written before the generation is advanced and read after it was
/// seen to advance; results are read after `busy` was seen to reach 0.
struct Team::State {
  int size;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<int> next{0};  // task
  std::atomic<int> busy{0};  // workers that have not left this generation yet
  bool stop = false;
  int tasks = 0;
  const FunctionRef<void(int, int)>* body = nullptr;
  std::mutex failure_mutex;
  std::exception_ptr failure;  // the first
  std::vector<std::jthread> workers;

  explicit State(int threads) : size(threads) {}

  void fail() {
    next.store(tasks, std::memory_order_relaxed);
    const std::lock_guard lock(failure_mutex);
    if (!failure) failure = std::current_exception();
  }

  void work(int worker) {
    try {
      for (int task = next.fetch_add(1, std::memory_order_relaxed); task < tasks;
           task = next.fetch_add(1, std::memory_order_relaxed)) {
        (*body)(task, worker);
      }
    } catch (...) {
      fail();
    }
  }

  void serve(int worker) {
    for (std::uint64_t seen = 0;; ++seen) {
      for (int spin = 0; spin < kSpins && generation.load(std::memory_order_acquire) == seen; ++spin) {
      }
      generation.wait(seen, std::memory_order_acquire);
      if (stop) return;
      work(worker);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  void advance() {
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }

  /// The caller's turn to wait; what it does meanwhile may fail, but workers still hold the body.
  void wait(FunctionRef<void()> idle) {
    bool idling = true;
    while (busy.load(std::memory_order_acquire) > 0) {
      try {
        if (idling) idle();
      } catch (...) {
        idling = false;
        fail();
      }
      std::this_thread::yield();
    }
  }
};

Team::Team(int threads) {
  if (threads < 1) {
    throw std::invalid_argument("a team of " + std::to_string(threads) + " threads cannot compute: give at least 1");
  }
  state_ = std::make_unique<State>(threads);
  state_->workers.reserve(threads - 1);
  try {
    for (int worker = 1; worker < threads; ++worker) {
      state_->workers.emplace_back([state = state_.get(), worker] { state->serve(worker); });
    }
  } catch (...) {  // the system refuses more threads: those that run must not wait for ever
    state_->stop = true;
    state_->advance();
    throw;
  }
}

Team::~Team() {
  state_->stop = true;
  state_->advance();
}

int Team::size() const {
  return state_->size;
}

void Team::run(int tasks, FunctionRef<void(int task, int worker)> body, FunctionRef<void()> idle) {
  if (tasks <= 0) return;
  state_->tasks = tasks;
  state_->body = &body;
  state_->failure = nullptr;
  state_->next.store(0, std::memory_order_relaxed);
  state_->busy.store(state_->size - 1, std::memory_order_relaxed);
  if (state_->size > 1) state_->advance();
  state_->work(0);
  state_->wait(idle);
  if (state_->failure) std::rethrow_exception(std::exchange(state_->failure, nullptr));
}

}  // namespace gyre
