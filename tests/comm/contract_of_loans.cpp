// The contract of shared memory and loans.
#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "comm/contract.hpp"

namespace contract {
namespace {

using gyre::SharedMemory;
using gyre::Ticket;
using gyre::Transport;

constexpr std::byte kPoison{0xee};
constexpr int kRounds = 40;
constexpr int kDepth = 2;  // loans of one pair at a time

bool same_node(const Transport& transport, int rank) {
  return transport.nodes()[rank] == transport.nodes()[transport.rank()];
}

std::vector<int> mates(const Transport& transport) {
  std::vector<int> found;
  for (int rank = 0; rank < transport.ranks(); ++rank) {
    if (same_node(transport, rank)) found.push_back(rank);
  }
  return found;
}

template <class Error>
std::string message_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void complete(Transport& transport, Ticket ticket) {
  while (!transport.test(ticket)) {
  }
}

/// Every third rank shares nothing.
std::size_t shared_bytes(int rank) {
  return rank % 3 == 2 ? 0 : 5000 + 4096 * static_cast<std::size_t>(rank) + 1;
}

/// Half a page's worth for every (lender, borrower, slot in rotation), not aligned to anything.
constexpr std::size_t kLoanBytes = 1999;

std::size_t loan_offset(const Transport& transport, int borrower, int round) {
  return (static_cast<std::size_t>(borrower) * kDepth + static_cast<std::size_t>(round) % kDepth) * kLoanBytes +
         static_cast<std::size_t>(transport.ranks() % 2);
}

std::byte content(int lender, int borrower, int round, std::size_t place) {
  return static_cast<std::byte>(static_cast<std::size_t>(lender * 89 + borrower * 57 + round * 31) + place * 7);
}

/// Both sides of the loans between this rank and one mate. Advanced a step at a time.
struct Pair {
  int mate = 0;
  std::vector<Ticket> exposed{}, borrowed{};  // in flight, oldest first
  int exposed_rounds = 0, borrowed_rounds = 0, read_rounds = 0;
  std::string wrong{};

  bool done() const { return exposed_rounds == kRounds && read_rounds == kRounds && exposed.empty(); }

  void expose(Transport& transport, SharedMemory& memory) {
    if (exposed_rounds == kRounds || exposed.size() == kDepth) return;
    const auto bytes = memory.mine().subspan(loan_offset(transport, mate, exposed_rounds), kLoanBytes);
    for (std::size_t place = 0; place < bytes.size(); ++place) {
      bytes[place] = content(transport.rank(), mate, exposed_rounds, place);
    }
    exposed.push_back(transport.expose(mate, kLoanBytes));
    ++exposed_rounds;
  }
  void take_back(Transport& transport, SharedMemory& memory) {
    if (exposed.empty() || !transport.test(exposed.front())) return;
    const int round = exposed_rounds - static_cast<int>(exposed.size());
    exposed.erase(exposed.begin());
    std::ranges::fill(memory.mine().subspan(loan_offset(transport, mate, round), kLoanBytes), kPoison);
  }
  void borrow(Transport& transport) {
    if (borrowed_rounds == kRounds || borrowed.size() == kDepth) return;
    borrowed.push_back(transport.borrow(mate, kLoanBytes));
    ++borrowed_rounds;
  }
  void read(Transport& transport, const SharedMemory& memory) {
    if (borrowed.empty() || !transport.test(borrowed.front())) return;
    borrowed.erase(borrowed.begin());
    const auto bytes = memory.of(mate).subspan(loan_offset(transport, transport.rank(), read_rounds), kLoanBytes);
    for (std::size_t place = 0; place < bytes.size(); ++place) {
      if (bytes[place] != content(mate, transport.rank(), read_rounds, place) && wrong.empty()) {
        wrong = "loan " + std::to_string(read_rounds) + " from rank " + std::to_string(mate) + " is not what its owner wrote; ";
      }
    }
    transport.release(mate);
    ++read_rounds;
  }
};

}  // namespace

std::string memory_is_shared_inside_a_node(Transport& transport) {
  const int rank = transport.rank();
  const auto nodes = transport.nodes();
  if (int(nodes.size()) != transport.ranks() || nodes[0] != 0) return "nodes() does not number every rank's node from 0";
  const std::unique_ptr<SharedMemory> memory = transport.share(shared_bytes(rank));
  const auto mine = memory->mine();
  if (mine.size() != shared_bytes(rank)) return "share() gave another size";
  if (reinterpret_cast<std::uintptr_t>(mine.data()) % 4096 != 0) return "shared memory is not aligned to a page";
  if (std::ranges::count(mine, std::byte{0}) != std::ptrdiff_t(mine.size())) return "shared memory is not zeroed";
  std::ranges::fill(mine, static_cast<std::byte>(rank + 1));
  transport.barrier();
  for (int other = 0; other < transport.ranks(); ++other) {
    const std::string who = " of rank " + std::to_string(other);
    if (!same_node(transport, other)) {
      const std::string refusal = message_of<std::invalid_argument>([&] { (void)memory->of(other); });
      if (refusal.find("only ranks of one node") == std::string::npos) return "memory" + who + " can be had across nodes";
      continue;
    }
    const auto theirs = memory->of(other);
    if (theirs.size() != shared_bytes(other)) return "a wrong size" + who;
    if (std::ranges::count(theirs, static_cast<std::byte>(other + 1)) != std::ptrdiff_t(theirs.size())) return "wrong bytes" + who;
  }
  transport.barrier();
  return "";
}

std::string loans_are_read_where_they_lie(Transport& transport, std::uint64_t seed) {
  const std::unique_ptr<SharedMemory> memory =
      transport.share(static_cast<std::size_t>(transport.ranks()) * kDepth * kLoanBytes + 1);
  std::ranges::fill(memory->mine(), kPoison);
  std::mt19937_64 random(seed * 1000 + transport.rank());
  const std::uint64_t before = transport.traffic().bytes_borrowed;
  std::vector<Pair> pairs;
  for (const int mate : mates(transport)) pairs.push_back({.mate = mate});
  while (!std::ranges::all_of(pairs, &Pair::done)) {
    Pair& pair = pairs[random() % pairs.size()];
    switch (random() % 4) {
      case 0:
        pair.expose(transport, *memory);
        break;
      case 1:
        pair.take_back(transport, *memory);
        break;
      case 2:
        pair.borrow(transport);
        break;
      default:
        pair.read(transport, *memory);
    }
  }
  std::string wrong;
  for (const Pair& pair : pairs) wrong += pair.wrong;
  if (transport.traffic().bytes_borrowed - before != pairs.size() * kRounds * kLoanBytes)
    wrong += "borrowed bytes are not counted; ";
  transport.barrier();
  return wrong;
}

std::string wrong_loans_are_refused(Transport& transport) {
  const int rank = transport.rank();
  const Ticket lent = transport.expose(rank, 0);
  std::string wrong;
  if (message_of<std::logic_error>([&] { transport.release(rank); }).find("has not borrowed") == std::string::npos) {
    wrong += "memory that was not borrowed was released; ";
  }
  const Ticket borrowed = transport.borrow(rank, 0);
  complete(transport, borrowed);
  if (transport.test(lent)) wrong += "a loan came back before it was released; ";
  transport.release(rank);
  complete(transport, lent);
  for (int other = 0; other < transport.ranks(); ++other) {
    if (same_node(transport, other)) continue;
    const auto refused = [&](const std::function<Ticket()>& post) {
      return message_of<std::invalid_argument>([&] { complete(transport, post()); }).find("inside a node only") !=
             std::string::npos;
    };
    if (!refused([&] { return transport.expose(other, 1); })) wrong += "lent to another node; ";
    if (!refused([&] { return transport.borrow(other, 1); })) wrong += "borrowed from another node; ";
  }
  transport.barrier();
  return wrong;
}

std::string more_memory_than_there_is_is_refused(Transport& transport) {
  const int last = transport.ranks() - 1;
  const std::string refusal = message_of<std::invalid_argument>(
      [&] { transport.share(transport.rank() == last ? std::size_t{1} << 47 : std::size_t{4096}); });
  const bool named = refusal.find("bytes") != std::string::npos && refusal.find("use more") != std::string::npos;
  return named ? "" : "too much memory: `" + refusal + "`";
}

}  // namespace contract
