#include "comm/faulty_transport.hpp"

#include <cstdlib>
#include <deque>
#include <exception>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "comm/ticket_slots.hpp"

namespace gyre {
namespace {

enum class Kind : std::uint8_t { send, receive, expose, borrow };

struct Transfer {
  Kind kind = Kind::send;
  int peer = 0;
  int lane = 0;
  std::size_t lent_bytes = 0;
  std::span<const std::byte> source{};
  std::span<std::byte> destination{};
  int posting_delay = 0;     // ticks until the inner transport hears of it
  int completion_delay = 0;  // ticks from its completion until ours
  enum class Stage : std::uint8_t { held, posted, completed, ended } stage = Stage::held;
  Ticket inner{};
  std::exception_ptr error{};  // thrown by test() of this ticket
};

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(std::unique_ptr<Transport> owned, Transport& inner, Faults faults);

  int rank() const override { return inner_.rank(); }
  int ranks() const override { return inner_.ranks(); }
  void reserve(std::size_t transfers) override { inner_.reserve(transfers); }

  Ticket send(int peer, int lane, std::span<const std::byte> bytes) override;
  Ticket receive(int peer, int lane, std::span<std::byte> bytes) override;
  bool test(Ticket ticket) override;
  void progress() override;

  Ticket expose(int peer, std::size_t bytes) override { return hold({.kind = Kind::expose, .peer = peer, .lent_bytes = bytes}); }
  Ticket borrow(int peer, std::size_t bytes) override { return hold({.kind = Kind::borrow, .peer = peer, .lent_bytes = bytes}); }
  void release(int peer) override { inner_.release(peer); }
  std::span<const int> nodes() const override { return inner_.nodes(); }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override;

  void tell(int peer, const Signal& signal) override { inner_.tell(peer, signal); }
  bool hear(Signal& signal) override { return inner_.hear(signal); }
  bool gone(int rank) override { return inner_.gone(rank); }
  bool silent(int rank) override { return inner_.silent(rank); }
  void ask_hosts() override { inner_.ask_hosts(); }
  std::string_view host(int rank) const override { return inner_.host(rank); }
  Heartbeat& heartbeat() override { return inner_.heartbeat(); }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void barrier() override;
  [[noreturn]] void abort(int status, std::string_view message) override {
    inner_.abort(status, message);
    std::abort();  // the compiler does not see that the line above never returns
  }
  Traffic traffic() const override { return inner_.traffic(); }

 private:
  using Queue = std::deque<Ticket>;  // held postings of one (peer, lane, kind), in order
  using Key = std::tuple<int, int, Kind>;

  Ticket hold(Transfer transfer);
  int draw_delay() { return std::uniform_int_distribution<int>(0, faults_.longest_delay)(random_); }
  void tick();
  Ticket post(const Transfer& transfer);
  void forward(Transfer& transfer);
  void test_inner(Transfer& transfer);
  void flip_bit(const Transfer& transfer) const;
  void release_all();

  std::unique_ptr<Transport> owned_;  // empty if somebody else owns inner_
  Transport& inner_;
  Faults faults_;
  std::mt19937_64 random_;
  TicketSlots<Transfer> transfers_;
  std::map<Key, Queue> held_;
  std::int64_t postings_ = 0;
  std::int64_t receives_ = 0;  // completed, that were not empty
};

/// Ranks of one seed draw different delays.
FaultyTransport::FaultyTransport(std::unique_ptr<Transport> owned, Transport& inner, Faults faults)
    : owned_(std::move(owned)),
      inner_(inner),
      faults_(std::move(faults)),
      random_(faults_.seed * 0x9e3779b97f4a7c15u + inner.rank()) {
  if (faults_.longest_delay < 0) {
    throw std::invalid_argument("longest_delay is " + std::to_string(faults_.longest_delay) + "; give 0 or more calls");
  }
}

Ticket FaultyTransport::hold(Transfer transfer) {
  transfer.posting_delay = draw_delay();
  transfer.completion_delay = draw_delay();
  const Ticket ticket = transfers_.acquire();
  const bool stalled = postings_++ == faults_.stall_after;
  transfers_[ticket] = transfer;
  if (stalled) return ticket;  // the inner transport never hears of it
  held_[{transfer.peer, transfer.lane, transfer.kind}].push_back(ticket);
  return ticket;
}

Ticket FaultyTransport::send(int peer, int lane, std::span<const std::byte> bytes) {
  return hold({.kind = Kind::send, .peer = peer, .lane = lane, .source = bytes});
}

Ticket FaultyTransport::receive(int peer, int lane, std::span<std::byte> bytes) {
  return hold({.kind = Kind::receive, .peer = peer, .lane = lane, .destination = bytes});
}

Ticket FaultyTransport::post(const Transfer& transfer) {
  switch (transfer.kind) {
    case Kind::send:
      return inner_.send(transfer.peer, transfer.lane, transfer.source);
    case Kind::receive:
      return inner_.receive(transfer.peer, transfer.lane, transfer.destination);
    case Kind::expose:
      return inner_.expose(transfer.peer, transfer.lent_bytes);
    case Kind::borrow:
      return inner_.borrow(transfer.peer, transfer.lent_bytes);
  }
  std::abort();  // no other kind
}

void FaultyTransport::forward(Transfer& transfer) {
  try {
    transfer.inner = post(transfer);
    transfer.stage = Transfer::Stage::posted;
  } catch (const std::logic_error&) {
    transfer.error = std::current_exception();
    transfer.stage = Transfer::Stage::ended;
  }
}

/// Every tick moves every transfer: nothing waits for another transfer but for earlier ones of its own queue, so no program that
/// keeps testing can be held back for ever.
void FaultyTransport::tick() {
  for (auto& [key, queue] : held_) {
    for (const Ticket ticket : queue) --transfers_[ticket].posting_delay;
    while (!queue.empty() && transfers_[queue.front()].posting_delay <= 0) {
      forward(transfers_[queue.front()]);
      queue.pop_front();
    }
  }
  bool tested = false;
  transfers_.each_in_flight([&](Transfer& transfer) {
    if (transfer.stage == Transfer::Stage::posted) {
      tested = true;
      test_inner(transfer);
    }
    if (transfer.stage == Transfer::Stage::completed && --transfer.completion_delay < 0) transfer.stage = Transfer::Stage::ended;
  });
  if (!tested) inner_.progress();
}

void FaultyTransport::test_inner(Transfer& transfer) {
  try {
    if (!inner_.test(transfer.inner)) return;
    transfer.stage = Transfer::Stage::completed;
    if (!transfer.destination.empty() && receives_++ == faults_.flip_after) flip_bit(transfer);
  } catch (const std::logic_error&) {
    transfer.error = std::current_exception();
    transfer.stage = Transfer::Stage::ended;
  }
}

/// From a generator of its own, so that delays are those of the seed without a flip.
void FaultyTransport::flip_bit(const Transfer& transfer) const {
  std::mt19937_64 random(faults_.seed);
  const auto bit = static_cast<std::int64_t>(random() % (transfer.destination.size() * 8));
  transfer.destination[static_cast<std::size_t>(bit / 8)] ^= std::byte{1} << bit % 8;
  if (faults_.flipped) faults_.flipped(transfer.peer, bit);
}

bool FaultyTransport::test(Ticket ticket) {
  Transfer& transfer = transfers_[ticket];
  if (transfer.stage != Transfer::Stage::ended) tick();
  if (transfer.stage != Transfer::Stage::ended) return false;
  const std::exception_ptr error = transfer.error;
  transfers_.release(ticket);
  if (error) std::rethrow_exception(error);
  return true;
}

void FaultyTransport::progress() {
  tick();
}

/// A rank that blocks in a collective ticks no more, and others may need what it has posted in order to get there.
void FaultyTransport::release_all() {
  for (auto& [key, queue] : held_) {
    for (const Ticket ticket : queue) forward(transfers_[ticket]);
    queue.clear();
  }
}

std::unique_ptr<SharedMemory> FaultyTransport::share(std::size_t bytes) {
  release_all();
  return inner_.share(bytes);
}

void FaultyTransport::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  release_all();
  inner_.all_gather(mine, all);
}

void FaultyTransport::broadcast(std::span<std::byte> bytes, int root) {
  release_all();
  inner_.broadcast(bytes, root);
}

void FaultyTransport::barrier() {
  release_all();
  inner_.barrier();
}

}  // namespace

std::unique_ptr<Transport> faulty_transport(std::unique_ptr<Transport> inner, Faults faults) {
  Transport& borrowed = *inner;
  return std::make_unique<FaultyTransport>(std::move(inner), borrowed, std::move(faults));
}

std::unique_ptr<Transport> faulty_transport(Transport& inner, Faults faults) {
  return std::make_unique<FaultyTransport>(nullptr, inner, std::move(faults));
}

}  // namespace gyre
