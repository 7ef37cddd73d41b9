// Transport: one rank's way to move bytes. It knows ranks, lanes and bytes, and nothing of attention.
//
// Order is the only addressing: on a lane, the k-th send from a to b is b's k-th receive from a. That is what MPI with one tag,
// NCCL and a queue in memory all give, and what the verifier of programs assumes. No buffering is promised: a send may stay
// incomplete until its receive is posted.
//
// A transport belongs to one thread; nothing here is called concurrently for the same rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "comm/shared_memory.hpp"
#include "comm/signal.hpp"

namespace gyre {

/// A posted transfer or loan. Dead once test() has said true.
enum class Ticket : std::uint32_t {};

/// Payload bytes since construction; collectives are not counted.
struct Traffic {
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t messages_sent = 0;
  std::uint64_t bytes_borrowed = 0;
};

class Heartbeat;

class Transport {
 public:
  virtual ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  /// Room for this many transfers in flight; allocates, so that posting does not (but a message that a transport has to cut into
  /// pieces, over MPI one of more than 1 GiB, may). Local.
  virtual void reserve(std::size_t transfers) = 0;

  /// Post a transfer and return at once. The bytes are borrowed until test() says true. Messages of any size; the receiver posts
  /// the very size that is sent. Throws LostPeer when the other side is known to be gone.
  virtual Ticket send(int peer, int lane, std::span<const std::byte> bytes) = 0;
  virtual Ticket receive(int peer, int lane, std::span<std::byte> bytes) = 0;

  /// Makes progress on everything posted; true once this transfer is complete, after which the ticket must not be used again.
  /// Never blocks. Throws LostPeer.
  virtual bool test(Ticket ticket) = 0;
  /// Makes progress on everything posted. Never blocks. Called from inside the tile loop.
  virtual void progress() = 0;

  // Lending: a transfer without a copy, between ranks of one node (also a rank and itself). Order is the only addressing here too:
  // the k-th expose from a to b is b's k-th borrow from a. What is lent is agreed by the callers; it lies in memory that both can
  // read (share()). `bytes` is counted, by the borrower. Throws std::invalid_argument for a peer of another node; LostPeer.

  /// The peer may read from now on. test() is true once it has released: until then nothing of it may be written.
  virtual Ticket expose(int peer, std::size_t bytes) = 0;
  /// test() is true once the peer has exposed; what it wrote before is then seen by plain loads, until release().
  virtual Ticket borrow(int peer, std::size_t bytes) = 0;
  /// Gives back the oldest borrow from this peer that is not yet released; test() must have been true for it, or for a later one
  /// from the same peer (else std::logic_error). Never blocks.
  virtual void release(int peer) = 0;

  /// Node of every rank: ranks of one node can read each other's shared memory. Numbered by lowest rank. [ranks()]
  virtual std::span<const int> nodes() const = 0;

  /// Memory of this rank that the ranks of its node can read where it lies: `bytes` of it, each rank its own number, also 0;
  /// zeroed, aligned to a page. Throws std::invalid_argument on every rank where a node has too little shared memory. Collective;
  /// blocks.
  virtual std::unique_ptr<SharedMemory> share(std::size_t bytes) = 0;

  // Small collectives, for agreement and reports: every rank calls the same ones in the same order. They block, under the deadline
  // of heartbeat(): Stall, LostPeer.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;  // all: ranks() x mine.size()
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;

  /// A message outside of lanes' order, to be heard whenever the peer listens. Best effort; never blocks; throws nothing.
  virtual void tell(int peer, const Signal& signal) = 0;
  /// The next signal that has come in from anybody, if there is one. Never blocks.
  virtual bool hear(Signal& signal) = 0;
  /// Whether this rank is known to be gone for ever: its process is no more. False where it cannot be known.
  virtual bool gone(int rank) = 0;
  /// Whether the host of this rank is known not to answer. False where it cannot be known.
  virtual bool silent(int) { return false; }
  /// Asks hosts for an answer, so that silent() knows more 0.3 seconds later. Never blocks.
  virtual void ask_hosts() {}
  /// The name of a rank's host where the ranks are on several nodes, for messages; else empty.
  virtual std::string_view host(int) const { return {}; }

  /// Who waits on this transport shows it here (Waiting), who computes beats.
  virtual Heartbeat& heartbeat();

  /// Ends the job on every rank with this status. One rank's message is printed, whoever else aborts. Does not return (loopback:
  /// throws LostPeer here and in every other rank).
  [[noreturn]] virtual void abort(int status, std::string_view message) = 0;

  virtual Traffic traffic() const = 0;

 protected:
  Transport();

 private:
  std::unique_ptr<Heartbeat> heartbeat_;  // made when it is first asked for
};

/// all_gather of one value per rank; all: ranks() entries.
template <class Value>
void all_gather_value(Transport& transport, const Value& mine, std::span<Value> all) {
  transport.all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(all));
}

/// Greatest, least or added value over the ranks, folded in rank order so that every rank gets the same bits. Collective.
double maximum_over_ranks(Transport& transport, double value);
double minimum_over_ranks(Transport& transport, double value);
double sum_over_ranks(Transport& transport, double value);
std::uint64_t sum_over_ranks(Transport& transport, std::uint64_t value);

}  // namespace gyre
