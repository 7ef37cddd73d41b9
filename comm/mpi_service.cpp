#include "comm/mpi_service.hpp"

#include <algorithm>

#include "comm/error.hpp"

namespace gyre {
namespace {

constexpr int kSignalTag = 0;
constexpr int kCollectiveTag = 1;
constexpr std::size_t kLargestMessageBytes = std::size_t{1} << 30;  // MPI counts in int
constexpr std::size_t kMostUndelivered = 4096;                      // signals; beyond, nobody takes them: they are dropped
constexpr std::size_t kRingFromBytes = 16 << 10;
constexpr int kNobody = -1;

/// A rank that unwinds leaves no receive behind that would write into memory which is being freed.
struct Request {
  MPI_Request handle = MPI_REQUEST_NULL;
  bool receiving = false;
  ~Request() {
    if (handle == MPI_REQUEST_NULL || !mpi_stands()) return;
    if (receiving) MPI_Cancel(&handle);
    MPI_Request_free(&handle);
  }
};

}  // namespace

MpiService::MpiService(Communicator communicator)
    : communicator_(std::move(communicator)), rank_(communicator_.rank()), ranks_(communicator_.size()) {}

/// What a stopped or lost rank has not taken yet stays with MPI, and so must its buffers.
MpiService::~MpiService() {
  if (!mpi_stands()) return;
  bool all_done = true;
  for (Told& told : *told_) {
    int done = 1;
    if (told.request != MPI_REQUEST_NULL) MPI_Test(&told.request, &done, MPI_STATUS_IGNORE);
    all_done = all_done && done;
  }
  if (!all_done) static_cast<void>(told_.release());
}

void MpiService::tell(int peer, const Signal& signal) {
  auto slot = std::find_if(told_->begin(), told_->end(), [](Told& told) {
    int done = 1;
    if (told.request != MPI_REQUEST_NULL) MPI_Test(&told.request, &done, MPI_STATUS_IGNORE);
    return done != 0;
  });
  if (slot == told_->end()) {
    if (told_->size() >= kMostUndelivered) return;
    told_->emplace_back();
    slot = std::prev(told_->end());
  }
  slot->signal = signal;
  MPI_Isend(&slot->signal, sizeof(Signal), MPI_BYTE, peer, kSignalTag, communicator_.get(), &slot->request);
}

bool MpiService::hear(Signal& signal) {
  int arrived = 0;
  MPI_Status status;
  if (MPI_Iprobe(MPI_ANY_SOURCE, kSignalTag, communicator_.get(), &arrived, &status) != MPI_SUCCESS || !arrived) return false;
  return MPI_Recv(&signal, sizeof(Signal), MPI_BYTE, status.MPI_SOURCE, kSignalTag, communicator_.get(), MPI_STATUS_IGNORE) ==
         MPI_SUCCESS;
}

void MpiService::finish(Heartbeat& heartbeat, MPI_Request& request, int peer) {
  const auto done = [&] {
    int flag = 0;
    const int code = MPI_Test(&request, &flag, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) throw LostPeer("rank " + std::to_string(peer) + " in a collective: " + mpi_error_text(code));
    return flag != 0;
  };
  if (done()) return;
  Waiting waiting(heartbeat, peer);
  while (!done()) waiting.fruitless();
}

/// Both at once; either may be nobody. Longer messages travel in pieces.
void MpiService::exchange(Heartbeat& heartbeat, int to, std::span<const std::byte> sent, int from, std::span<std::byte> received) {
  const std::size_t longest = std::max(to == kNobody ? 0 : sent.size(), from == kNobody ? 0 : received.size());
  for (std::size_t offset = 0; offset == 0 || offset < longest; offset += kLargestMessageBytes) {
    const auto piece = [&](auto bytes) {
      const std::size_t begin = std::min(offset, bytes.size());
      return bytes.subspan(begin, std::min(kLargestMessageBytes, bytes.size() - begin));
    };
    Request receive{.receiving = true};
    Request send{.receiving = false};
    if (const auto part = piece(received); from != kNobody && (offset == 0 || !part.empty())) {
      check_mpi(MPI_Irecv(part.data(), static_cast<int>(part.size()), MPI_BYTE, from, kCollectiveTag, communicator_.get(),
                          &receive.handle),
                "MPI_Irecv");
    }
    if (const auto part = piece(sent); to != kNobody && (offset == 0 || !part.empty())) {
      heartbeat.before_sending(to);
      check_mpi(
          MPI_Isend(part.data(), static_cast<int>(part.size()), MPI_BYTE, to, kCollectiveTag, communicator_.get(), &send.handle),
          "MPI_Isend");
    }
    if (from != kNobody) finish(heartbeat, receive.handle, from);
    if (to != kNobody) finish(heartbeat, send.handle, to);
  }
}

/// Dissemination: after the step of distance d, a rank knows that the 2d ranks up to it have come.
void MpiService::barrier(Heartbeat& heartbeat) {
  for (int distance = 1; distance < ranks_; distance *= 2) {
    exchange(heartbeat, (rank_ + distance) % ranks_, {}, (rank_ + ranks_ - distance) % ranks_, {});
  }
}

void MpiService::all_gather(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all) {
  if (mine.size() >= kRingFromBytes) return gather_around(heartbeat, mine, all);
  gather_by_doubling(heartbeat, mine, all);
}

/// A ring, for large blocks: each passes every rank once, and none is copied.
void MpiService::gather_around(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all) {
  const auto block = [&](int steps_back) {
    return all.subspan(static_cast<std::size_t>((rank_ + ranks_ - steps_back) % ranks_) * mine.size(), mine.size());
  };
  std::copy(mine.begin(), mine.end(), block(0).begin());
  for (int step = 1; step < ranks_; ++step) {
    exchange(heartbeat, (rank_ + 1) % ranks_, block(step - 1), (rank_ + ranks_ - 1) % ranks_, block(step));
  }
}

/// Bruck's, for small blocks: before the step of distance d, the blocks of ranks rank..rank+d-1 lie at the front; the step appends
/// those of the next d. Of 5 ranks: 1, 2, 4 blocks, then the one that is missing. At last blocks turn to their places.
void MpiService::gather_by_doubling(Heartbeat& heartbeat, std::span<const std::byte> mine, std::span<std::byte> all) {
  const std::size_t size = mine.size();
  if (blocks_.size() < all.size()) blocks_.resize(all.size());
  const std::span blocks = std::span(blocks_).first(all.size());
  std::copy(mine.begin(), mine.end(), blocks.begin());
  for (int distance = 1; distance < ranks_; distance *= 2) {
    const std::size_t bytes = static_cast<std::size_t>(std::min(distance, ranks_ - distance)) * size;
    exchange(heartbeat, (rank_ + ranks_ - distance) % ranks_, blocks.first(bytes), (rank_ + distance) % ranks_,
             blocks.subspan(static_cast<std::size_t>(distance) * size, bytes));
  }
  const auto first = blocks.end() - static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rank_) * size);
  std::copy(blocks.begin(), first, std::copy(first, blocks.end(), all.begin()));
}

/// A binomial tree: numbered from the root, a rank receives from the one without its lowest bit.
void MpiService::broadcast(Heartbeat& heartbeat, std::span<std::byte> bytes, int root) {
  const int number = (rank_ + ranks_ - root) % ranks_;
  int bit = 1;
  while (bit < ranks_ && !(number & bit)) bit *= 2;
  if (number != 0) exchange(heartbeat, kNobody, {}, (number - bit + root) % ranks_, bytes);
  for (bit /= 2; bit >= 1; bit /= 2) {
    if (number + bit < ranks_) exchange(heartbeat, (number + bit + root) % ranks_, bytes, kNobody, {});
  }
}

}  // namespace gyre
