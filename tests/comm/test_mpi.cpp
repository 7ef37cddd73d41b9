// The contract over MPI, plain, in small pieces, and faulty. Complaints are gathered before anything is asserted: a rank that fails
// alone would leave the others waiting.
#include <mpi.h>

#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "comm/contract.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/mpi_transport.hpp"
#include "comm/topology.hpp"
#include "support/catch.hpp"

using namespace gyre;
using namespace contract;

namespace {

/// The complaints of all ranks, on every rank.
std::string gathered(const std::string& mine) {
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  constexpr int kRoom = 500;
  std::string padded = mine.substr(0, kRoom - 1);
  padded.resize(kRoom);
  std::vector<char> all(std::size_t(kRoom) * ranks);
  MPI_Allgather(padded.data(), kRoom, MPI_CHAR, all.data(), kRoom, MPI_CHAR, MPI_COMM_WORLD);
  std::string complaints;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string one(&all[std::size_t(kRoom) * rank]);
    if (!one.empty()) complaints += "rank " + std::to_string(rank) + ": " + one + "\n";
  }
  return complaints;
}

/// An exception that is none of the clause's cannot be survived: others may wait for this rank.
std::string over(Transport& transport, const Clause& clause) {
  std::string complaint;
  try {
    complaint = clause(transport);
  } catch (const std::exception& error) {
    transport.abort(1, error.what());
  }
  return gathered(complaint);
}

}  // namespace

TEST_CASE("MPI keeps the whole contract") {
  const auto transport = mpi_world_transport();
  REQUIRE(over(*transport, everything) == "");
}

TEST_CASE("MPI keeps the whole contract on several nodes") {
  for (const int ranks_per_node : {1, 2, 3}) {
    const auto transport = mpi_world_transport(kLargestPieceBytes, ranks_per_node);
    REQUIRE(over(*transport, [&](Transport& inner) -> std::string {
              for (int rank = 0; rank < inner.ranks(); ++rank) {
                if (inner.nodes()[rank] != rank / ranks_per_node) return "ranks are not on the nodes that were asked for";
              }
              return everything(inner);
            }) == "");
  }
}

TEST_CASE("ranks of one machine are of one node, and leave no file behind") {
  const auto transport = mpi_world_transport();
  const auto memory = transport->share(100'000);
  transport->barrier();
  std::string wrong;
  for (const int node : transport->nodes()) wrong += node == 0 ? "" : "more than one node; ";
  // other jobs of this machine may run beside this one: their files have names for a few ms
  for (int attempt = 0; attempt < 100 && wrong.empty(); ++attempt) {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      files += entry.path().filename().string().starts_with("gyre-") ? 1 : 0;
    }
    if (files == 0) break;
    if (attempt == 99) wrong = "a file is left in /dev/shm";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(gathered(wrong) == "");
}

TEST_CASE("more memory than /dev/shm has is refused on every rank and named") {
  const auto transport = mpi_world_transport();
  REQUIRE(over(*transport, more_memory_than_there_is_is_refused) == "");
  REQUIRE(over(*transport, memory_is_shared_inside_a_node) == "");
}

TEST_CASE("MPI allocates nothing of ours after reserve") {
  const auto transport = mpi_world_transport();
  REQUIRE(over(*transport, exchanges_allocate_nothing_after_reserve) == "");
}

TEST_CASE("transfers longer than a piece arrive in pieces and count as one message") {
  for (const std::size_t piece_bytes : {1, 1000, 4096}) {
    const auto transport = mpi_world_transport(piece_bytes);
    const std::uint64_t seed = piece_bytes;
    // pieces of one byte are for small messages only: 70,000 requests at once are MPI's problem, not ours
    const Clause clause =
        piece_bytes > 1 ? Clause([&](Transport& inner) { return random_exchanges_arrive(inner, seed); }) : collectives_deliver;
    REQUIRE(over(*transport, clause) == "");
  }
}

// MPI would move all of them at once, and the first would arrive with the last.
TEST_CASE("large messages of a lane leave one behind the other, and hold up no other lane") {
  const auto transport = mpi_world_transport();
  REQUIRE(over(*transport, [](Transport& t) -> std::string {
            constexpr int kMessages = 6;
            constexpr std::size_t kBytes = 2 << 20;
            const int next = (t.rank() + 1) % t.ranks(), previous = (t.rank() + t.ranks() - 1) % t.ranks();
            const std::vector<std::byte> sent(kBytes, std::byte{1});
            std::vector<std::vector<std::byte>> received(kMessages + 1, std::vector<std::byte>(kBytes));
            std::vector<Ticket> sends, receives;
            for (int k = 0; k < kMessages; ++k) receives.push_back(t.receive(previous, 0, received[k]));
            for (int k = 0; k < kMessages; ++k) sends.push_back(t.send(next, 0, sent));
            while (!t.test(sends.front())) {
            }
            MPI_Barrier(MPI_COMM_WORLD);  // MPI goes on with what it has been given
            const bool waited = t.ranks() == 1 || received[kMessages - 1].back() == std::byte{0};
            MPI_Barrier(MPI_COMM_WORLD);  // nobody gives it more before all have looked
            receives.push_back(t.receive(previous, 1, received[kMessages]));
            sends.push_back(t.send(next, 1, sent));
            while (!t.test(receives.back())) {
            }
            for (int k = 0; k < kMessages; ++k) {
              while (!t.test(receives[k])) {
              }
            }
            for (int k = 1; k <= kMessages; ++k) {
              while (!t.test(sends[k])) {
              }
            }
            for (const auto& message : received)
              if (message != sent) return "a message is not what was sent";
            return waited ? "" : "the last message arrived before the third was complete";
          }) == "");
}

TEST_CASE("a faulty MPI keeps the whole contract") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const auto transport = faulty_transport(mpi_world_transport(), {.seed = seed});
    REQUIRE(over(*transport, everything) == "");
  }
}

TEST_CASE("two transports over one communicator do not meet each other's messages") {
  const auto one = mpi_world_transport();
  const auto two = mpi_world_transport();
  const int peer = one->ranks() - 1 - one->rank();
  int received_one = 0, received_two = 0;
  const int sent_one = 1, sent_two = 2;
  const auto as_bytes_of = [](int& value) { return std::as_writable_bytes(std::span(&value, 1)); };
  const Ticket r1 = one->receive(peer, 0, as_bytes_of(received_one));
  const Ticket r2 = two->receive(peer, 0, as_bytes_of(received_two));
  const Ticket s2 = two->send(peer, 0, std::as_bytes(std::span(&sent_two, 1)));
  const Ticket s1 = one->send(peer, 0, std::as_bytes(std::span(&sent_one, 1)));
  for (const Ticket ticket : {r1, s1}) {
    while (!one->test(ticket)) {
    }
  }
  for (const Ticket ticket : {r2, s2}) {
    while (!two->test(ticket)) {
    }
  }
  REQUIRE(gathered(received_one == 1 && received_two == 2 ? "" : "messages crossed") == "");
}

TEST_CASE("a receive of another size than was sent is an error that names both") {
  for (const auto& [sent, expected] : {std::pair<std::size_t, std::size_t>{8, 16}, {16, 8}}) {
    const auto transport = mpi_world_transport();
    if (transport->ranks() < 2) return;
    const std::string error = error_of_unequal_sizes(*transport, sent, expected);
    const bool fine = transport->rank() != 1 || error == "rank 0 sends " +
                                                             (sent < expected ? "8 bytes" : std::string("more than that")) +
                                                             ", rank 1 receives " + std::to_string(expected) +
                                                             " bytes on lane 3; both sides must post the same size";
    REQUIRE(gathered(fine ? "" : error) == "");
  }
}

TEST_CASE("a transport that is destroyed with receives in flight cancels them") {
  std::byte byte{};
  {
    const auto transport = mpi_world_transport();
    transport->receive(0, 0, std::span(&byte, 1));
    transport->receive(transport->rank(), 1, std::span(&byte, 1));
  }
  REQUIRE(gathered("") == "");
}

TEST_CASE("lanes that are no MPI tags and pieces that MPI cannot count are refused") {
  const auto transport = mpi_world_transport();
  REQUIRE_THROWS_AS(transport->send(0, -1, {}), std::invalid_argument);
  REQUIRE_THROWS_AS(mpi_world_transport(0), std::invalid_argument);
  REQUIRE_THROWS_AS(mpi_world_transport(kLargestPieceBytes + 1), std::invalid_argument);
}

TEST_CASE("a session inside somebody else's MPI leaves it standing") {
  { const MpiSession session(nullptr, nullptr); }
  int finalized = 1;
  MPI_Finalized(&finalized);
  REQUIRE(finalized == 0);
}

TEST_CASE("ranks of one machine are one node") {
  const auto transport = mpi_world_transport();
  const Topology topology = discover_topology(*transport);
  const bool fine = topology.nodes() == 1 && topology.bound_cores >= 1 && topology.sharing_ranks >= 1 &&
                    topology.sharing_ranks <= transport->ranks() && int(topology.node_of_rank.size()) == transport->ranks();
  REQUIRE(gathered(fine ? "" : "wrong topology") == "");
}
