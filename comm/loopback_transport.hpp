// Loopback: all ranks in one process, a thread each. The embedded default, and what most tests run on.
//
// A transfer is copied when both sides have been posted and not before: nothing is buffered, so a program that would deadlock
// on a rendezvous transport deadlocks here too. Unequal sizes of the two sides are a std::logic_error in test() of both.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/transport.hpp"

namespace gyre {

class LoopbackWorld {
 public:
  /// ranks_per_node: ranks 0 to n - 1 play the first node, and so on; 0: all are on one. Throws std::invalid_argument if ranks < 1
  /// or ranks_per_node < 0.
  explicit LoopbackWorld(int ranks, int ranks_per_node = 0);
  ~LoopbackWorld();

  /// The transport of one rank, to be used by one thread. The world must outlive it. One per rank.
  std::unique_ptr<Transport> transport(int rank);

  /// From here on every call of every rank's transport throws LostPeer with the first such message. From any thread.
  void fail(std::string message);

  struct State;

 private:
  std::shared_ptr<State> state_;
};

/// Runs body once per rank, each on a thread of its own, and waits for all. If a rank throws, or returns while others wait for it,
/// the others' transports throw LostPeer; the first exception in time (a LostPeer only if there is nothing else) is rethrown here.
///
/// A transport that throws LostPeer touches this rank's buffers no more (what it has lent may still be read by others: the pages of
/// share() live on until they have let go). A rank that throws by itself while it has transfers in
/// flight must let their buffers outlive the call, or call abort() first: until then others may copy from and to them.
void run_loopback(int ranks, const std::function<void(Transport&)>& body, int ranks_per_node = 0);

}  // namespace gyre
