// Signals and small collectives of ranks over MPI, on a communicator of their own. Private to comm/.
//
// Collectives are built from messages between two ranks, not from MPI's own: every wait then has a peer that can be asked whether
// it lives, and whoever waits answers others meanwhile.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/heartbeat.hpp"

namespace gyre {

class MpiService {
 public:
  explicit MpiService(Communicator communicator);
  ~MpiService();
  MpiService(const MpiService&) = delete;
  MpiService& operator=(const MpiService&) = delete;

  // As in Transport.
  void tell(int peer, const Signal& signal);
  bool hear(Signal& signal);

  // As in Transport. They call progress() while they wait.
  void all_gather(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all);
  void broadcast(Heartbeat& heartbeat, std::span<std::byte> bytes, int root);
  void barrier(Heartbeat& heartbeat);

 private:
  struct Told {
    Signal signal;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void gather_around(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all);
  void gather_by_doubling(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all);
  void exchange(Heartbeat& heartbeat, int to, std::span<const std::byte> sent, int from, std::span<std::byte> received);
  static void finish(Heartbeat& heartbeat, MPI_Request& request, int peer);

  Communicator communicator_;
  int rank_;
  int ranks_;
  std::vector<std::byte> blocks_;  // of gather_by_doubling; kept, so that a collective of the same size allocates nothing
  std::unique_ptr<std::deque<Told>> told_ = std::make_unique<std::deque<Told>>();  // a deque, so that growing moves no buffer
};

}  // namespace gyre
