// Which ranks of other nodes still have a process, and a host that answers: a TCP connection beside MPI, without traffic. Private
// to comm/.
//
// MPI itself cannot be asked: Open MPI 4.1 ends a process that writes to a dead one. Here the kernel tells. Where a process ends,
// for whatever reason, the kernel of its host closes its connections; where a host is cut off or down, what is written to it is not
// acknowledged. Every rank is watched by one rank of another node, the first such behind it, and watches that one back:
//
//   nodes   0 0 1 1 2 2          rank 0 and 1 -> 2, 2 and 3 -> 4, 4 and 5 -> 0
//
// so that of every host that is lost somebody elsewhere knows it, with one connection a rank. Where no connection can be made (no
// IPv4 between hosts, firewalls) nothing is known of that rank: `unknown`, and nothing else changes.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "comm/transport.hpp"

namespace gyre {

/// The rank of another node that watches this one; -1 if there is one node. Pure.
int watcher_of(std::span<const int> nodes, int rank);

class Presence {
 public:
  Presence() = default;
  /// Connects; takes at most two seconds or so where that fails. `nodes`: as Transport::nodes(). Collective.
  Presence(Transport& transport, std::span<const int> nodes);
  /// Says farewell, so that nobody takes the end of this process for a loss.
  ~Presence();
  Presence(Presence&& other) noexcept;
  Presence& operator=(Presence&& other) noexcept;

  enum class Sign : std::uint8_t {
    unknown,
    there,
    silent,  // its host has not answered for a while: it is cut off, or down
    ended    // the process is no more
  };
  /// Looks; a system call or two. Never blocks.
  Sign look(int rank);
  /// Asks the hosts of all watched ranks for an answer: whoever is there has given it after kAnswerSeconds. Never blocks.
  void ask();
  static constexpr double kAnswerSeconds = 0.3;

 private:
  using Clock = std::chrono::steady_clock;
  struct Link {
    int rank = -1;
    int socket = -1;
    Sign last = Sign::there;    // `ended` and `unknown` are for ever
    Clock::time_point asked{};  // zero: never
  };
  void keep(int rank, int socket);
  Sign look(Link& link);

  std::vector<Link> links_;
};

}  // namespace gyre
