#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "comm/loopback_transport.hpp"

namespace gyre {
namespace {

/// The exception that run_loopback passes on: the first in time, but a LostPeer only if there is nothing else.
class FirstFailure {
 public:
  void record(std::exception_ptr failure, bool lost_peer) {
    const std::lock_guard lock(mutex_);
    std::exception_ptr& kept = lost_peer ? lost_peer_ : own_;
    if (!kept) kept = std::move(failure);
  }
  void rethrow() const {
    if (own_) std::rethrow_exception(own_);
    if (lost_peer_) std::rethrow_exception(lost_peer_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr own_;
  std::exception_ptr lost_peer_;
};

void run_rank(LoopbackWorld& world, Transport& transport, const std::function<void(Transport&)>& body, FirstFailure& failure) {
  const std::string who = "rank " + std::to_string(transport.rank()) + " failed";
  try {
    body(transport);
  } catch (const LostPeer& error) {
    failure.record(std::current_exception(), true);
    world.fail(who + ": " + error.what());
  } catch (const std::exception& error) {
    failure.record(std::current_exception(), false);
    world.fail(who + ": " + error.what());
  } catch (...) {
    failure.record(std::current_exception(), false);
    world.fail(who);
  }
}

}  // namespace

void run_loopback(int ranks, const std::function<void(Transport&)>& body, int ranks_per_node) {
  LoopbackWorld world(ranks, ranks_per_node);
  std::vector<std::unique_ptr<Transport>> transports;
  transports.reserve(ranks);
  for (int rank = 0; rank < ranks; ++rank) transports.push_back(world.transport(rank));

  FirstFailure failure;
  {
    std::vector<std::jthread> threads;
    threads.reserve(ranks);
    try {
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&world, &body, &failure, &transport = transports[rank]] {
          run_rank(world, *transport, body, failure);
          transport.reset();
        });
      }
    } catch (...) {  // no thread for this rank: those that run must not wait for it
      world.fail("a rank got no thread");
      failure.record(std::current_exception(), false);
    }
  }
  failure.rethrow();
}

}  // namespace gyre
