#include "comm/loopback_transport.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/error.hpp"
#include "comm/heartbeat.hpp"
#include "comm/lending.hpp"
#include "comm/shared_file.hpp"
#include "comm/ticket_slots.hpp"

namespace gyre {
namespace {

enum class Phase : std::uint8_t { posted, copying, done, mismatched };

/// One side of a transfer. Its owner writes everything but the phase, before linking it; `phase` is how the two threads talk:
/// whoever completes the match sets it last (release) and never looks at the other side's posting again.
struct Posting {
  bool sending = false;
  int peer = 0;
  int lane = 0;
  const std::byte* source = nullptr;
  std::byte* destination = nullptr;
  std::size_t size = 0;
  std::size_t matched_size = 0;
  std::atomic<Phase> phase = Phase::posted;
  Loan loan{};  // if it is one: then peer and this alone are used
  Posting* previous = nullptr;
  Posting* next = nullptr;
};

/// Postings from one rank to another that still lack their other side, in order of posting. Lanes share the list, and the first
/// fitting entry is the right one: on a lane, sends and receives cannot both be waiting.
struct Unmatched {
  Posting* first = nullptr;
  Posting* last = nullptr;

  void append(Posting& posting) {
    posting.previous = last;
    posting.next = nullptr;
    (last ? last->next : first) = &posting;
    last = &posting;
  }
  void remove(Posting& posting) {
    (posting.previous ? posting.previous->next : first) = posting.next;
    (posting.next ? posting.next->previous : last) = posting.previous;
  }
  Posting* other_side(const Posting& posting) const {
    Posting* candidate = first;
    while (candidate && (candidate->lane != posting.lane || candidate->sending == posting.sending)) candidate = candidate->next;
    return candidate;
  }
};

enum class Collective : std::uint8_t { all_gather, broadcast, barrier };

struct Mailbox {
  std::mutex mutex;
  std::deque<Signal> signals;
  std::atomic<std::size_t> count = 0;  // of signals, to be looked at without the mutex
};

}  // namespace

struct LoopbackWorld::State {
  State(int count, int ranks_per_node)
      : ranks(count),
        unmatched(std::size_t(count) * count),
        gone(count),
        lent(std::size_t(count) * count),
        offered(count),
        mailboxes(count),
        arrived(count) {
    for (int rank = 0; rank < count; ++rank) nodes.push_back(ranks_per_node > 0 ? rank / ranks_per_node : 0);
  }

  Unmatched& between(int source, int destination) { return unmatched[std::size_t(source) * ranks + destination]; }

  /// The first failure is the one that every rank hears of. The mutex is held by the caller.
  void fail_locked(std::string message) {
    if (failed.load(std::memory_order_relaxed)) return;
    failure = std::move(message);
    failed.store(true, std::memory_order_release);
    changed.notify_all();
  }
  void fail(std::string message) {
    const std::lock_guard lock(mutex);
    fail_locked(std::move(message));
  }

  const int ranks;
  std::vector<int> nodes;
  std::mutex mutex;  // over everything below but the atomics
  std::vector<Unmatched> unmatched;
  std::vector<std::atomic<bool>> gone;  // transports that have been destroyed
  std::atomic<bool> failed = false;
  std::string failure;                        // written once, before `failed`
  std::vector<LendingPair> lent;              // [lender * ranks + borrower]; no mutex
  std::vector<SharedMemory::Region> offered;  // by rank, while a share() goes on

  std::vector<Mailbox> mailboxes;  // by rank

  // The collective that is going on: ranks put their share on the board, and when all have, read it.
  std::condition_variable changed;
  Collective kind = Collective::barrier;
  std::vector<std::byte> board;
  int present = 0;
  bool reading = false;
  std::vector<bool> arrived;  // by rank, in the collective that is going on
};

namespace {

constexpr std::chrono::milliseconds kBetweenHeartbeats{5};  // of a rank that sleeps in a collective

class LoopbackTransport final : public Transport {
 public:
  LoopbackTransport(std::shared_ptr<LoopbackWorld::State> world, int rank);
  ~LoopbackTransport() override;

  int rank() const override { return rank_; }
  int ranks() const override { return world_->ranks; }
  void reserve(std::size_t transfers) override { postings_.reserve(transfers); }

  Ticket send(int peer, int lane, std::span<const std::byte> bytes) override;
  Ticket receive(int peer, int lane, std::span<std::byte> bytes) override;
  bool test(Ticket ticket) override;
  void progress() override;

  Ticket expose(int peer, std::size_t bytes) override;
  Ticket borrow(int peer, std::size_t bytes) override;
  void release(int peer) override { lending_.release(peer); }
  std::span<const int> nodes() const override { return world_->nodes; }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override;

  void tell(int peer, const Signal& signal) override;
  bool hear(Signal& signal) override;
  bool gone(int rank) override { return world_->gone[rank].load(std::memory_order_acquire); }

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void barrier() override { meet(Collective::barrier, {}, 0, {}); }
  [[noreturn]] void abort(int status, std::string_view message) override;
  Traffic traffic() const override { return traffic_; }

 private:
  Posting& prepare(Ticket ticket, int peer, int lane, std::size_t size);
  void post(Posting& mine);
  Ticket lend(const Loan& loan);
  bool test_loan(Ticket ticket, const Loan& loan);
  void meet(Collective kind, std::span<const std::byte> mine, std::size_t offset, std::span<std::byte> board);
  void wait_for_all(std::unique_lock<std::mutex>& lock);
  void require_rank(int peer) const;
  bool failed() const { return world_->failed.load(std::memory_order_acquire); }
  void settle();
  [[noreturn]] void lose();
  [[noreturn]] void raise_mismatch(const Posting& posting);
  void rest();

  std::shared_ptr<LoopbackWorld::State> world_;
  const int rank_;
  TicketSlots<Posting> postings_;
  Lending lending_;
  Traffic traffic_;
  unsigned fruitless_ = 0;
};

LoopbackTransport::LoopbackTransport(std::shared_ptr<LoopbackWorld::State> world, int rank)
    : world_(std::move(world)), rank_(rank), lending_(rank, world_->ranks) {
  const auto pair = [&](int lender, int borrower) -> LendingPair& {
    return world_->lent[std::size_t(lender) * world_->ranks + borrower];
  };
  for (int peer = 0; peer < world_->ranks; ++peer) {
    if (world_->nodes[peer] == world_->nodes[rank]) lending_.connect(peer, pair(rank, peer), pair(peer, rank));
  }
}

/// The rank is gone: nobody may find its postings any more.
LoopbackTransport::~LoopbackTransport() {
  {
    const std::lock_guard lock(world_->mutex);
    postings_.each_in_flight([&](Posting& posting) {
      if (posting.phase.load(std::memory_order_relaxed) != Phase::posted || posting.loan.side != LoanSide::none) return;
      (posting.sending ? world_->between(rank_, posting.peer) : world_->between(posting.peer, rank_)).remove(posting);
    });
    world_->gone[rank_].store(true, std::memory_order_release);
    world_->changed.notify_all();
  }
  settle();
}

void LoopbackTransport::require_rank(int peer) const {
  if (peer >= 0 && peer < world_->ranks) return;
  throw std::invalid_argument("rank " + std::to_string(peer) + " does not exist; ranks are 0 to " +
                              std::to_string(world_->ranks - 1));
}

Posting& LoopbackTransport::prepare(Ticket ticket, int peer, int lane, std::size_t size) {
  Posting& posting = postings_[ticket];
  posting.peer = peer;
  posting.lane = lane;
  posting.size = size;
  posting.loan = {};
  posting.phase.store(Phase::posted, std::memory_order_relaxed);
  return posting;
}

Ticket LoopbackTransport::send(int peer, int lane, std::span<const std::byte> bytes) {
  require_rank(peer);
  if (failed()) lose();
  const Ticket ticket = postings_.acquire();
  Posting& mine = prepare(ticket, peer, lane, bytes.size());
  mine.sending = true;
  mine.source = bytes.data();
  post(mine);
  traffic_.bytes_sent += bytes.size();
  ++traffic_.messages_sent;
  return ticket;
}

Ticket LoopbackTransport::receive(int peer, int lane, std::span<std::byte> bytes) {
  require_rank(peer);
  if (failed()) lose();
  const Ticket ticket = postings_.acquire();
  Posting& mine = prepare(ticket, peer, lane, bytes.size());
  mine.sending = false;
  mine.destination = bytes.data();
  post(mine);
  traffic_.bytes_received += bytes.size();
  return ticket;
}

/// The copy happens outside of the lock, so that large transfers of different pairs overlap.
///
/// No copy may touch the buffers of a rank that is unwinding with LostPeer. `failed` is set under the lock: a match either comes
/// later and is not made, or came earlier and is seen by that rank's settle() as `copying`.
void LoopbackTransport::post(Posting& mine) {
  Posting* other = nullptr;
  bool lost = false;
  {
    const std::lock_guard lock(world_->mutex);
    Unmatched& queue = mine.sending ? world_->between(rank_, mine.peer) : world_->between(mine.peer, rank_);
    lost = world_->failed.load(std::memory_order_relaxed);
    other = lost ? nullptr : queue.other_side(mine);
    if (other) {
      queue.remove(*other);
      mine.phase.store(Phase::copying, std::memory_order_relaxed);
      other->phase.store(Phase::copying, std::memory_order_relaxed);
    } else {
      queue.append(mine);
    }
  }
  if (lost) lose();
  if (!other) return;

  const Posting& source = mine.sending ? mine : *other;
  const Posting& destination = mine.sending ? *other : mine;
  mine.matched_size = other->size;
  other->matched_size = mine.size;
  const bool equal = source.size == destination.size;
  if (equal && source.size > 0) std::memcpy(destination.destination, source.source, source.size);
  const Phase outcome = equal ? Phase::done : Phase::mismatched;
  mine.phase.store(outcome, std::memory_order_release);
  other->phase.store(outcome, std::memory_order_release);
}

Ticket LoopbackTransport::expose(int peer, std::size_t) {
  if (failed()) lose();
  return lend(lending_.expose(peer));
}

Ticket LoopbackTransport::borrow(int peer, std::size_t bytes) {
  if (failed()) lose();
  const Ticket ticket = lend(lending_.borrow(peer));
  traffic_.bytes_borrowed += bytes;
  return ticket;
}

Ticket LoopbackTransport::lend(const Loan& loan) {
  const Ticket ticket = postings_.acquire();
  prepare(ticket, loan.peer, 0, 0).loan = loan;
  return ticket;
}

bool LoopbackTransport::test_loan(Ticket ticket, const Loan& loan) {
  if (failed()) lose();
  const bool gone =
      world_->gone[loan.peer].load(std::memory_order_acquire);  // read first: it exposes and releases before it leaves
  if (lending_.test(loan)) {
    postings_.release(ticket);
    fruitless_ = 0;
    return true;
  }
  if (gone) {
    world_->fail("rank " + std::to_string(loan.peer) + " has ended while rank " + std::to_string(rank_) +
                 (loan.side == LoanSide::lender ? " lends it memory" : " waits for its memory"));
    lose();
  }
  rest();
  return false;
}

/// Ranks lay their pages down, and copy the handles of their node's when all have.
std::unique_ptr<SharedMemory> LoopbackTransport::share(std::size_t bytes) {
  LoopbackWorld::State& world = *world_;
  SharedMemory::Region mine{.rank = rank_, .pages = nullptr, .bytes = bytes};
  together(*this, [&] { mine.pages = private_pages(bytes); });
  {
    const std::lock_guard lock(world.mutex);
    world.offered[rank_] = mine;
  }
  barrier();
  std::vector<SharedMemory::Region> regions;
  {
    const std::lock_guard lock(world.mutex);
    for (const SharedMemory::Region& region : world.offered) {
      if (world.nodes[region.rank] == world.nodes[rank_]) regions.push_back(region);
    }
  }
  barrier();
  {
    const std::lock_guard lock(world.mutex);
    world.offered[rank_].pages.reset();
  }
  return std::make_unique<SharedMemory>(rank_, std::move(regions));
}

bool LoopbackTransport::test(Ticket ticket) {
  Posting& posting = postings_[ticket];
  if (posting.loan.side != LoanSide::none) return test_loan(ticket, posting.loan);
  const bool lost = failed();  // read first: the other side of a mismatch may fail the world right after both phases are set
  const Phase phase = posting.phase.load(std::memory_order_acquire);
  if (phase == Phase::mismatched) raise_mismatch(posting);
  if (lost) lose();
  if (phase == Phase::done) {
    postings_.release(ticket);
    fruitless_ = 0;
    return true;
  }
  // The peer posts before it leaves: once it is seen to be gone, a posting that still waits will wait for ever.
  if (world_->gone[posting.peer].load(std::memory_order_acquire) &&
      posting.phase.load(std::memory_order_acquire) == Phase::posted) {
    world_->fail("rank " + std::to_string(posting.peer) + " has ended while rank " + std::to_string(rank_) +
                 " waits for it on lane " + std::to_string(posting.lane));
    lose();
  }
  rest();
  return false;
}

/// Called between tiles: whoever has work to do keeps its core.
void LoopbackTransport::progress() {
  if (failed()) lose();
}

/// With more ranks than cores, the rank that is waited for may be the one without a core. Every 16th time: a yield costs 0.3 us and
/// more, a test a few ns.
void LoopbackTransport::rest() {
  if (++fruitless_ % 16 == 0) std::this_thread::yield();
}

/// Waits until nobody copies to or from this rank's buffers.
void LoopbackTransport::settle() {
  postings_.each_in_flight([](Posting& posting) {
    while (posting.phase.load(std::memory_order_acquire) == Phase::copying) std::this_thread::yield();
  });
}

void LoopbackTransport::lose() {
  settle();
  throw LostPeer(world_->failure);
}

void LoopbackTransport::raise_mismatch(const Posting& posting) {
  const auto side = [&](bool sends) {
    const bool mine = sends == posting.sending;
    return "rank " + std::to_string(mine ? rank_ : posting.peer) + (sends ? " sends " : " receives ") +
           std::to_string(mine ? posting.size : posting.matched_size) + " bytes";
  };
  const std::string message =
      side(true) + ", " + side(false) + " on lane " + std::to_string(posting.lane) + "; both sides must post the same size";
  world_->fail(message);
  settle();
  throw std::logic_error(message);
}

void LoopbackTransport::abort(int status, std::string_view message) {
  world_->fail("rank " + std::to_string(rank_) + " ended the job with status " + std::to_string(status) + ": " +
               std::string(message));
  lose();
}

void LoopbackTransport::tell(int peer, const Signal& signal) {
  Mailbox& mailbox = world_->mailboxes[peer];
  const std::lock_guard lock(mailbox.mutex);
  mailbox.signals.push_back(signal);
  mailbox.count.store(mailbox.signals.size(), std::memory_order_release);
}

bool LoopbackTransport::hear(Signal& signal) {
  Mailbox& mailbox = world_->mailboxes[rank_];
  if (mailbox.count.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard lock(mailbox.mutex);
  signal = mailbox.signals.front();
  mailbox.signals.pop_front();
  mailbox.count.store(mailbox.signals.size(), std::memory_order_release);
  return true;
}

void LoopbackTransport::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  if (all.size() != mine.size() * ranks()) {
    throw std::invalid_argument("all_gather of " + std::to_string(mine.size()) + " bytes from each of " + std::to_string(ranks()) +
                                " ranks into " + std::to_string(all.size()) + " bytes; give room for all");
  }
  meet(Collective::all_gather, mine, mine.size() * rank_, all);
}

void LoopbackTransport::broadcast(std::span<std::byte> bytes, int root) {
  require_rank(root);
  meet(Collective::broadcast, rank_ == root ? bytes : std::span<std::byte>(), 0, bytes);
}

/// Until all have arrived, or one is gone. Waits for the lowest rank that is missing.
void LoopbackTransport::wait_for_all(std::unique_lock<std::mutex>& lock) {
  LoopbackWorld::State& world = *world_;
  const auto over = [&] {
    return world.failed || world.reading || std::find(world.gone.begin(), world.gone.end(), true) != world.gone.end();
  };
  while (!over()) {
    const auto missing = static_cast<int>(std::find(world.arrived.begin(), world.arrived.end(), false) - world.arrived.begin());
    Waiting waiting(heartbeat(), missing);
    while (!over() && !world.arrived[missing]) {
      if (world.changed.wait_for(lock, kBetweenHeartbeats) != std::cv_status::timeout) continue;
      lock.unlock();
      waiting.fruitless();
      lock.lock();
    }
  }
}

/// Puts `mine` at `offset` of the shared board, waits for everyone, and copies the whole board out. The last rank to have read
/// opens the board for the next collective.
void LoopbackTransport::meet(Collective kind, std::span<const std::byte> mine, std::size_t offset, std::span<std::byte> board) {
  LoopbackWorld::State& world = *world_;
  std::unique_lock lock(world.mutex);
  world.changed.wait(lock, [&] { return world.failed || !world.reading; });  // for ranks that have only to copy
  if (!world.failed && world.present == 0) {
    std::fill(world.arrived.begin(), world.arrived.end(), false);
    world.kind = kind;
    world.board.resize(board.size());
  }
  if (!world.failed && (world.kind != kind || world.board.size() != board.size())) {
    const std::string message = "rank " + std::to_string(rank_) + " calls another collective, or one of another size (" +
                                std::to_string(board.size()) + " bytes, others " + std::to_string(world.board.size()) +
                                "): every rank must call the same ones in the same order";
    world.fail_locked(message);
    lock.unlock();
    settle();
    throw std::logic_error(message);
  }
  if (!world.failed) {
    std::copy(mine.begin(), mine.end(), world.board.begin() + offset);
    world.arrived[rank_] = true;
    if (++world.present == world.ranks) {
      world.reading = true;
      world.changed.notify_all();
    }
  }
  wait_for_all(lock);
  if (!world.failed && !world.reading) world.fail_locked("a rank has ended while others wait for it in a collective");
  if (world.failed) {
    lock.unlock();
    lose();
  }
  std::copy(world.board.begin(), world.board.end(), board.begin());
  if (--world.present == 0) {
    world.reading = false;
    world.changed.notify_all();
  }
}

}  // namespace

LoopbackWorld::LoopbackWorld(int ranks, int ranks_per_node) {
  if (ranks < 1) throw std::invalid_argument("a loopback world of " + std::to_string(ranks) + " ranks; give at least 1");
  if (ranks_per_node < 0) {
    throw std::invalid_argument("nodes of " + std::to_string(ranks_per_node) + " ranks; give at least 1, or 0 for one node");
  }
  state_ = std::make_shared<State>(ranks, ranks_per_node);
}

LoopbackWorld::~LoopbackWorld() = default;

void LoopbackWorld::fail(std::string message) {
  state_->fail(std::move(message));
}

std::unique_ptr<Transport> LoopbackWorld::transport(int rank) {
  if (rank < 0 || rank >= state_->ranks) {
    throw std::invalid_argument("rank " + std::to_string(rank) + " does not exist; ranks are 0 to " +
                                std::to_string(state_->ranks - 1));
  }
  return std::make_unique<LoopbackTransport>(state_, rank);
}

}  // namespace gyre
