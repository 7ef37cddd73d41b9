#include "comm/mpi_transport.hpp"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/error.hpp"
#include "comm/hardware.hpp"
#include "comm/heartbeat.hpp"
#include "comm/lending.hpp"
#include "comm/mpi_service.hpp"
#include "comm/node.hpp"
#include "comm/presence.hpp"
#include "comm/ticket_slots.hpp"

namespace gyre {
namespace {

constexpr std::chrono::seconds kGraceOfPendingSends{1};
constexpr std::chrono::seconds kGraceOfTheSpeaker{5};

/// MPI moves all large messages to a rank at once, so that they all end together, when the last byte is there. Here those of a lane
/// leave one behind the other; as many at a time as keep a link busy between two polls (0.5 ms at 25 Gbit/s), and two at least, so
/// that the handshake of one is hidden by the other.
constexpr std::size_t kMessagesAtOnce = 2, kBytesAtOnce = 2 << 20;

struct Transfer {
  bool sending = false;
  int peer = 0;
  int lane = 0;
  std::size_t size = 0;
  std::size_t pieces_left = 0;
  std::size_t arrived_bytes = 0;    // of a receive
  int error = MPI_SUCCESS;          // of the first piece that failed
  Loan loan{};                      // if it is one
  const std::byte* held = nullptr;  // what is to be sent when others of its lane have left
};

class MpiTransport final : public Transport {
 public:
  MpiTransport(Communicator communicator, Communicator service, std::size_t piece_bytes, int ranks_per_node);
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }
  void reserve(std::size_t transfers) override;

  Ticket send(int peer, int lane, std::span<const std::byte> bytes) override;
  Ticket receive(int peer, int lane, std::span<std::byte> bytes) override;
  bool test(Ticket ticket) override;
  void progress() override;

  Ticket expose(int peer, std::size_t bytes) override;
  Ticket borrow(int peer, std::size_t bytes) override;
  void release(int peer) override { lending_.release(peer); }
  std::span<const int> nodes() const override { return nodes_; }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override;

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void barrier() override { service_.barrier(heartbeat()); }

  void tell(int peer, const Signal& signal) override { service_.tell(peer, signal); }
  bool hear(Signal& signal) override { return service_.hear(signal); }
  bool gone(int rank) override {
    return !processes_.empty() && (processes_[rank].gone() || presence_.look(rank) == Presence::Sign::ended);
  }
  bool silent(int rank) override { return presence_.look(rank) == Presence::Sign::silent; }
  void ask_hosts() override { presence_.ask(); }
  std::string_view host(int rank) const override { return hosts_.empty() ? std::string_view() : hosts_[rank].data(); }

  [[noreturn]] void abort(int status, std::string_view message) override;
  Traffic traffic() const override { return traffic_; }

 private:
  Ticket add(bool sending, int peer, int lane, std::size_t size);
  template <class Post>
  void post(Ticket ticket, Post&& post_piece);
  void post_send(Ticket ticket, const std::byte* bytes);
  bool may_leave(const Transfer& transfer);
  void send_held();
  Ticket lend(const Loan& loan);
  bool test_loan(Ticket ticket, const Loan& loan);
  void connect_mates();
  void reap(int completed, bool errors);
  void drop_completed_requests();
  [[noreturn]] void raise(const Transfer& transfer) const;
  void require(int peer, int lane) const;

  Communicator communicator_;
  MpiService service_;
  const std::size_t piece_bytes_;
  int rank_ = 0;
  int ranks_ = 1;
  int largest_tag_ = 0;
  TicketSlots<Transfer> transfers_;
  Traffic traffic_;
  std::vector<int> nodes_;
  std::vector<ProcessId> processes_;
  std::vector<HostName> hosts_;  // where there are several nodes
  Presence presence_;
  std::vector<SharedMemory::Region> counters_;  // of every rank of the node: a LendingPair for each borrower of the node
  Lending lending_;
  unsigned fruitless_ = 0;
  std::vector<Ticket> held_;  // sends that are not yet MPI's, in order

  // Side by side: every request in flight and the transfer that it is a piece of. Compact, because MPI_Testsome walks all of it.
  std::vector<MPI_Request> requests_;
  std::vector<Ticket> tickets_;
  std::vector<int> completed_;  // what MPI_Testsome fills; as long as requests_
  std::vector<MPI_Status> statuses_;
};

MpiTransport::MpiTransport(Communicator communicator, Communicator service, std::size_t piece_bytes, int ranks_per_node)
    : communicator_(std::move(communicator)),
      service_(std::move(service)),
      piece_bytes_(piece_bytes),
      rank_(communicator_.rank()),
      ranks_(communicator_.size()),
      lending_(rank_, ranks_) {
  if (piece_bytes < 1 || piece_bytes > kLargestPieceBytes) {
    throw std::invalid_argument("pieces of " + std::to_string(piece_bytes) + " bytes; give 1 to " +
                                std::to_string(kLargestPieceBytes));
  }
  int* limit = nullptr;
  int found = 0;
  check_mpi(MPI_Comm_get_attr(communicator_.get(), MPI_TAG_UB, &limit, &found), "MPI_Comm_get_attr");
  largest_tag_ = found ? *limit : 32767;  // what the standard guarantees
  nodes_ = discover_nodes(*this, ranks_per_node);
  processes_ = gather_processes(*this);
  try {
    connect_mates();
  } catch (const std::invalid_argument&) {  // on every rank: somewhere not even the counters have room
    std::iota(nodes_.begin(), nodes_.end(), 0);
    connect_mates();
  }
  if (watcher_of(nodes_, rank_) < 0) return;
  hosts_.resize(ranks_);
  all_gather_value(*this, host_name(), std::span(hosts_));
  presence_ = Presence(*this, nodes_);
}

/// Every rank owns the counters of what it lends.
void MpiTransport::connect_mates() {
  const auto mates = static_cast<std::size_t>(std::count(nodes_.begin(), nodes_.end(), nodes_[rank_]));
  counters_ = share_pages(*this, nodes_, mates * sizeof(LendingPair), Access::read_and_write);
  const auto place = [&](int rank) {  // among the ranks of the node
    return std::find_if(counters_.begin(), counters_.end(), [&](const auto& region) { return region.rank == rank; }) -
           counters_.begin();
  };
  const auto pair = [&](std::size_t lender, std::size_t borrower) -> LendingPair& {
    return reinterpret_cast<LendingPair*>(counters_[lender].pages.get())[borrower];
  };
  const std::size_t mine = place(rank_);
  for (std::size_t mate = 0; mate < mates; ++mate) lending_.connect(counters_[mate].rank, pair(mine, mate), pair(mate, mine));
}

/// See the header for why a rank that unwinds may end the job here.
MpiTransport::~MpiTransport() {
  if (requests_.empty() || !mpi_stands()) return;
  const auto deadline = std::chrono::steady_clock::now() + kGraceOfPendingSends;
  try {
    for (std::size_t index = 0; index < requests_.size(); ++index) {
      if (!transfers_[tickets_[index]].sending) MPI_Cancel(&requests_[index]);
    }
    while (!requests_.empty() && std::chrono::steady_clock::now() < deadline) progress();
  } catch (const std::exception& error) {
    abort(3, error.what());
  }
  if (!requests_.empty()) abort(3, "rank " + std::to_string(rank_) + " gave up with transfers in flight that nobody receives");
}

void MpiTransport::reserve(std::size_t transfers) {
  transfers_.reserve(transfers);
  requests_.reserve(transfers);
  held_.reserve(transfers);
  tickets_.reserve(transfers);
  completed_.resize(std::max(completed_.size(), transfers));
  statuses_.resize(completed_.size());
}

void MpiTransport::require(int peer, int lane) const {
  if (peer < 0 || peer >= ranks_) {
    throw std::invalid_argument("rank " + std::to_string(peer) + " does not exist; ranks are 0 to " + std::to_string(ranks_ - 1));
  }
  if (lane < 0 || lane > largest_tag_) {
    throw std::invalid_argument("lane " + std::to_string(lane) + " is no MPI tag; use 0 to " + std::to_string(largest_tag_));
  }
}

/// A transfer of no bytes is one empty piece.
Ticket MpiTransport::add(bool sending, int peer, int lane, std::size_t size) {
  require(peer, lane);
  const std::size_t pieces = size == 0 ? 1 : (size - 1) / piece_bytes_ + 1;
  const Ticket ticket = transfers_.acquire();
  transfers_[ticket] = {.sending = sending, .peer = peer, .lane = lane, .size = size, .pieces_left = pieces};
  return ticket;
}

/// post_piece(offset, bytes, request) -> MPI code.
template <class Post>
void MpiTransport::post(Ticket ticket, Post&& post_piece) {
  Transfer& transfer = transfers_[ticket];
  const std::size_t pieces = transfer.pieces_left;
  if (requests_.size() + pieces > completed_.size()) reserve(std::max(requests_.size() + pieces, 2 * completed_.size()));
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const std::size_t offset = piece * piece_bytes_;
    MPI_Request request = MPI_REQUEST_NULL;
    transfer.error = post_piece(offset, static_cast<int>(std::min(piece_bytes_, transfer.size - offset)), &request);
    if (transfer.error != MPI_SUCCESS) raise(transfer);
    requests_.push_back(request);
    tickets_.push_back(ticket);
  }
}

void MpiTransport::post_send(Ticket ticket, const std::byte* bytes) {
  const auto [peer, lane] = std::pair(transfers_[ticket].peer, transfers_[ticket].lane);
  post(ticket, [&, peer = peer, lane = lane](std::size_t offset, int count, MPI_Request* request) {
    return MPI_Isend(bytes + offset, count, MPI_BYTE, peer, lane, communicator_.get(), request);
  });
}

/// Unless enough is on its way on its lane. The k-th send of a lane meets the k-th receive, whatever happens on other lanes, so
/// holding back a later one holds up nobody for ever.
bool MpiTransport::may_leave(const Transfer& transfer) {
  std::size_t messages = 0, bytes = 0;
  const Ticket* counted = nullptr;
  for (const Ticket& ticket : tickets_) {
    const Transfer& other = transfers_[ticket];
    if (!other.sending || other.peer != transfer.peer || other.lane != transfer.lane) continue;
    if (counted != nullptr && *counted == ticket) continue;  // another piece of it
    counted = &ticket, ++messages, bytes += other.size;
  }
  return messages < kMessagesAtOnce || bytes < kBytesAtOnce;
}

void MpiTransport::send_held() {
  std::size_t kept = 0;
  for (std::size_t index = 0; index < held_.size(); ++index) {
    Transfer& transfer = transfers_[held_[index]];
    const auto same_lane = [&](Ticket ticket) {
      return transfers_[ticket].peer == transfer.peer && transfers_[ticket].lane == transfer.lane;
    };
    const bool first = std::none_of(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(kept), same_lane);
    if (first && may_leave(transfer)) {
      post_send(held_[index], transfer.held);
    } else {
      held_[kept++] = held_[index];
    }
  }
  held_.resize(kept);
}

Ticket MpiTransport::send(int peer, int lane, std::span<const std::byte> bytes) {
  const Ticket ticket = add(true, peer, lane, bytes.size());
  transfers_[ticket].held = bytes.data();
  held_.push_back(ticket);
  send_held();
  traffic_.bytes_sent += bytes.size();
  ++traffic_.messages_sent;
  return ticket;
}

Ticket MpiTransport::receive(int peer, int lane, std::span<std::byte> bytes) {
  const Ticket ticket = add(false, peer, lane, bytes.size());
  post(ticket, [&](std::size_t offset, int count, MPI_Request* request) {
    return MPI_Irecv(bytes.data() + offset, count, MPI_BYTE, peer, lane, communicator_.get(), request);
  });
  traffic_.bytes_received += bytes.size();
  return ticket;
}

Ticket MpiTransport::expose(int peer, std::size_t) {
  return lend(lending_.expose(peer));
}

Ticket MpiTransport::borrow(int peer, std::size_t bytes) {
  const Ticket ticket = lend(lending_.borrow(peer));
  traffic_.bytes_borrowed += bytes;
  return ticket;
}

Ticket MpiTransport::lend(const Loan& loan) {
  const Ticket ticket = transfers_.acquire();
  transfers_[ticket] = {.loan = loan};
  return ticket;
}

/// A loan needs no MPI, but other transfers in flight do. With more ranks than cores, the rank that is waited for may be the one
/// without a core.
bool MpiTransport::test_loan(Ticket ticket, const Loan& loan) {
  if (lending_.test(loan)) {
    transfers_.release(ticket);
    fruitless_ = 0;
    return true;
  }
  if (++fruitless_ % 16 == 0) {
    progress();
    std::this_thread::yield();
  }
  return false;
}

std::unique_ptr<SharedMemory> MpiTransport::share(std::size_t bytes) {
  return std::make_unique<SharedMemory>(rank_, share_pages(*this, nodes_, bytes, Access::read));
}

bool MpiTransport::test(Ticket ticket) {
  Transfer& transfer = transfers_[ticket];
  if (transfer.loan.side != LoanSide::none) return test_loan(ticket, transfer.loan);
  if (transfer.pieces_left > 0) progress();
  if (transfer.pieces_left > 0) return false;
  const Transfer finished = transfer;
  transfers_.release(ticket);
  const bool complete = finished.sending || finished.arrived_bytes == finished.size;
  if (finished.error != MPI_SUCCESS || !complete) raise(finished);
  return true;
}

/// MPI_Testsome over everything in flight: it enters MPI's progress engine (which moves rendezvous of both directions, whichever
/// request asks) and reaps all that is complete in one walk. Without a request in flight the engine is entered by a probe, because
/// an eager send counts as complete while its bytes may still wait for the socket.
void MpiTransport::progress() {
  if (requests_.empty()) {
    int arrived = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, communicator_.get(), &arrived, MPI_STATUS_IGNORE), "MPI_Iprobe");
    return;
  }
  int completed = 0;
  const int code =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &completed, completed_.data(), statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) throw LostPeer("MPI_Testsome: " + mpi_error_text(code));
  if (completed > 0) reap(completed, code == MPI_ERR_IN_STATUS);
}

/// Statuses carry an error code only if MPI_Testsome said that one of them does.
void MpiTransport::reap(int completed, bool errors) {
  for (int index = 0; index < completed; ++index) {
    Transfer& transfer = transfers_[tickets_[completed_[index]]];
    --transfer.pieces_left;
    if (errors && transfer.error == MPI_SUCCESS) transfer.error = statuses_[index].MPI_ERROR;
    requests_[completed_[index]] = MPI_REQUEST_NULL;  // MPI leaves a failed request there
    if (transfer.sending) continue;
    int bytes = 0;
    MPI_Get_count(&statuses_[index], MPI_BYTE, &bytes);
    transfer.arrived_bytes += bytes > 0 ? bytes : 0;
  }
  heartbeat().progressed();
  drop_completed_requests();
  send_held();
}

void MpiTransport::drop_completed_requests() {
  std::size_t kept = 0;
  for (std::size_t index = 0; index < requests_.size(); ++index) {
    if (requests_[index] == MPI_REQUEST_NULL) continue;
    requests_[kept] = requests_[index];
    tickets_[kept++] = tickets_[index];
  }
  requests_.resize(kept);
  tickets_.resize(kept);
}

void MpiTransport::raise(const Transfer& transfer) const {
  const std::string lane = " on lane " + std::to_string(transfer.lane);
  const std::string peer = std::to_string(transfer.peer);
  int error_class = MPI_SUCCESS;
  MPI_Error_class(transfer.error, &error_class);
  if (!transfer.sending && (error_class == MPI_ERR_TRUNCATE || error_class == MPI_SUCCESS)) {
    throw std::logic_error(
        "rank " + peer + " sends " +
        (error_class == MPI_ERR_TRUNCATE ? "more than that" : std::to_string(transfer.arrived_bytes) + " bytes") + ", rank " +
        std::to_string(rank_) + " receives " + std::to_string(transfer.size) + " bytes" + lane +
        "; both sides must post the same size");
  }
  throw LostPeer(std::string(transfer.sending ? "sending to" : "receiving from") + " rank " + peer + lane +
                 " failed: " + mpi_error_text(transfer.error));
}

void MpiTransport::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  if (all.size() != mine.size() * ranks_) {
    throw std::invalid_argument("all_gather of " + std::to_string(mine.size()) + " bytes from each of " + std::to_string(ranks_) +
                                " ranks into " + std::to_string(all.size()) + " bytes; give room for all");
  }
  service_.all_gather(heartbeat(), mine, all);
}

void MpiTransport::broadcast(std::span<std::byte> bytes, int root) {
  require(root, 0);
  service_.broadcast(heartbeat(), bytes, root);
}

/// Who is not the one to speak waits to be ended by the one who is.
void MpiTransport::abort(int status, std::string_view message) {
  if (heartbeat().take_last_word()) {
    std::fprintf(stderr, "gyre: error: %.*s\n", static_cast<int>(message.size()), message.data());
    std::fflush(stderr);
    heartbeat().last_word_is_said();
  } else {
    std::this_thread::sleep_for(kGraceOfTheSpeaker);
  }
  MPI_Abort(communicator_.get(), status);
  std::_Exit(status);
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
  if (initialized) return;
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  ours_ = true;
}

MpiSession::~MpiSession() {
  if (ours_ && mpi_stands()) MPI_Finalize();
}

std::unique_ptr<Transport> mpi_transport(int fortran_communicator, std::size_t piece_bytes, int ranks_per_node) {
  if (!mpi_stands()) {
    throw std::invalid_argument(
        "an MPI transport outside of MPI_Init and MPI_Finalize; call MPI_Init first, or make an MpiSession");
  }
  const MPI_Comm communicator = MPI_Comm_f2c(fortran_communicator);
  return std::make_unique<MpiTransport>(Communicator::duplicate(communicator), Communicator::duplicate(communicator), piece_bytes,
                                        ranks_per_node);
}

std::unique_ptr<Transport> mpi_world_transport(std::size_t piece_bytes, int ranks_per_node) {
  return mpi_transport(MPI_Comm_c2f(MPI_COMM_WORLD), piece_bytes, ranks_per_node);
}

}  // namespace gyre
