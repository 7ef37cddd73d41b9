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
#include <span>
#include <string_view>

namespace gyre {

/// A posted transfer. Dead once test() has said true.
enum class Ticket : std::uint32_t {};

/// Payload bytes since construction; collectives are not counted.
struct Traffic {
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t messages_sent = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
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

  // Small collectives, for agreement and reports: every rank calls the same ones in the same order. They block.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;  // all: ranks() x mine.size()
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;

  /// Ends the job on every rank with this status. Does not return (loopback: throws LostPeer here and in every other rank).
  [[noreturn]] virtual void abort(int status, std::string_view message) = 0;

  virtual Traffic traffic() const = 0;

 protected:
  Transport() = default;
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
