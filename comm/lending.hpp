// The counters behind expose, borrow and release. Private to comm/.
//
// Per ordered pair (lender, borrower) two numbers only ever grow: how often the lender has exposed (it alone writes), and how often
// the borrower has released (it alone writes). The k-th loan may be read while exposed >= k > released. A cache line each: a
// waiting rank reads its line from its own cache until the other side writes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace gyre {

struct alignas(64) LendingCount {
  std::atomic<std::uint64_t> value = 0;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "counters lie between processes");

/// All zeros is its first state.
struct LendingPair {
  LendingCount exposed;   // written by the lender
  LendingCount released;  // written by the borrower
};

enum class LoanSide : std::uint8_t { none, lender, borrower };

/// One loan as one side sees it; none: no loan at all.
struct Loan {
  LoanSide side = LoanSide::none;
  int peer = 0;
  std::uint64_t number = 0;  // from 1
};

/// One rank's loans.
class Lending {
 public:
  Lending(int rank, int ranks) : rank_(rank), peers_(ranks) {}

  /// The counters must outlive this object. Peers of other nodes are never connected.
  void connect(int peer, LendingPair& lent, LendingPair& borrowed) {
    peers_[peer].lent = &lent;
    peers_[peer].borrowed = &borrowed;
  }

  Loan expose(int peer) {
    Peer& other = connected(peer);
    other.lent->exposed.value.store(++other.exposed, std::memory_order_release);
    return {.side = LoanSide::lender, .peer = peer, .number = other.exposed};
  }

  Loan borrow(int peer) { return {.side = LoanSide::borrower, .peer = peer, .number = ++connected(peer).borrowed_times}; }

  bool test(const Loan& loan) {
    Peer& other = peers_[loan.peer];
    if (loan.side == LoanSide::lender) return other.lent->released.value.load(std::memory_order_acquire) >= loan.number;
    if (other.borrowed->exposed.value.load(std::memory_order_acquire) < loan.number) return false;
    other.seen = std::max(other.seen, loan.number);
    return true;
  }

  void release(int peer) {
    Peer& other = connected(peer);
    if (other.released == other.seen) {
      throw std::logic_error("rank " + std::to_string(rank_) + " releases memory of rank " + std::to_string(peer) +
                             " that it has not borrowed; test() must have been true first");
    }
    other.borrowed->released.value.store(++other.released, std::memory_order_release);
  }

 private:
  struct Peer {
    LendingPair* lent = nullptr;      // this rank to the peer
    LendingPair* borrowed = nullptr;  // the peer to this rank
    std::uint64_t exposed = 0;
    std::uint64_t borrowed_times = 0;
    std::uint64_t seen = 0;
    std::uint64_t released = 0;
  };

  Peer& connected(int peer) {
    if (peer < 0 || peer >= int(peers_.size())) {
      throw std::invalid_argument("rank " + std::to_string(peer) + " does not exist; ranks are 0 to " +
                                  std::to_string(peers_.size() - 1));
    }
    if (!peers_[peer].lent) {
      throw std::invalid_argument("rank " + std::to_string(peer) + " is on another node than rank " + std::to_string(rank_) +
                                  "; memory is lent inside a node only");
    }
    return peers_[peer];
  }

  int rank_;
  std::vector<Peer> peers_;
};

}  // namespace gyre
