#include "comm/while_alive.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/heartbeat.hpp"

namespace gyre {
namespace {

constexpr std::chrono::milliseconds kBetweenBeats{2};
constexpr int kLostJob = 3;  // exit status of a job that ends because a rank is lost

}  // namespace

void while_alive(Transport& transport, const std::function<void()>& step) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr failure;
  std::jthread helper([&] {
    try {
      step();
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, kBetweenBeats, [&] { return done; })) {
    lock.unlock();
    try {
      transport.progress();
      transport.heartbeat().beat();
    } catch (const std::exception& error) {
      transport.abort(kLostJob, error.what());
    }
    lock.lock();
  }
  lock.unlock();
  helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace gyre
