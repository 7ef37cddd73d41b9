// ending_job HOW [under mpirun]: ranks that do not reach the end, and ranks that do although they take long. Deadline: 1 second.
#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/error.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/heartbeat.hpp"
#include "comm/mpi_transport.hpp"
#include "comm/while_alive.hpp"

namespace {

using gyre::Ticket;
using gyre::Transport;

constexpr double kDeadline = 1;

std::atomic<bool> ended = false;  // by SIGTERM

struct GaveUp : std::exception {};

void complete(Transport& transport, Ticket ticket, int peer) {
  if (transport.test(ticket)) return;
  gyre::Waiting waiting(transport.heartbeat(), peer);
  while (!transport.test(ticket)) waiting.fruitless();
}

/// A large message around the ring, with loans to a neighbour between; the job ends when one is lost.
void go_around(Transport& transport, int rounds) {
  const int right = (transport.rank() + 1) % transport.ranks();
  const int left = (transport.rank() + transport.ranks() - 1) % transport.ranks();
  std::vector<std::byte> source(1 << 20), destination(source.size());  // beyond what MPI sends eagerly
  for (int round = 0; round < rounds; ++round) {
    transport.heartbeat().set_stage({"", round});
    const Ticket received = transport.receive(left, 7, destination);
    const Ticket sent = transport.send(right, 7, source);
    complete(transport, received, left);
    complete(transport, sent, right);
    const Ticket exposed = transport.expose(right, 8);
    complete(transport, transport.borrow(left, 8), left);
    transport.release(left);
    complete(transport, exposed, right);
  }
}

void compute(Transport& transport, double seconds) {
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) transport.heartbeat().beat();
}

void lose(Transport& transport, int posting) {
  const auto faulty = gyre::faulty_transport(transport, {.longest_delay = 0, .stall_after = transport.rank() == 1 ? posting : -1});
  go_around(*faulty, 10);
}

/// What rank 1 does; the others go around.
void misbehave(Transport& transport, const std::string& how) {
  if (how == "aborts") transport.abort(3, "rank 1 gives up");
  if (how == "unwinds") {
    std::vector<std::byte> large(1 << 20);
    transport.send(0, 7, large);
    throw GaveUp();
  }
  if (how == "killed") std::raise(SIGKILL);
  if (how == "stopped") std::raise(SIGSTOP);
  if (how == "computes") compute(transport, 3 * kDeadline);
  if (how == "reads")
    gyre::while_alive(transport, [] { std::this_thread::sleep_for(std::chrono::duration<double>(3 * kDeadline)); });
}

void run(Transport& transport, const std::string& how) {
  const std::map<std::string, int> kLost{{"receive-lost", 4}, {"send-lost", 5}, {"expose-lost", 6}, {"borrow-lost", 7}};
  go_around(transport, 3);
  if (how == "abort-together") transport.abort(3, "rank " + std::to_string(transport.rank()) + " gives up");
  if (const auto lost = kLost.find(how); lost != kLost.end()) return lose(transport, lost->second);
  if (transport.rank() == 1) misbehave(transport, how);
  if (how == "stopped" || how == "computes") transport.barrier();
  go_around(transport, 5);
}

}  // namespace

int main(int argc, char** argv) {
  const gyre::MpiSession session(&argc, &argv);
  const std::string how = argc > 1 ? argv[1] : "";
  std::signal(SIGTERM, [](int) { ended = true; });
  try {
    const auto transport = gyre::mpi_world_transport();
    transport->heartbeat().set_deadline(how == "unwinds" ? 0 : kDeadline);
    transport->heartbeat().end_with(ended);
    try {
      run(*transport, how);
    } catch (const std::runtime_error& error) {
      transport->abort(3, error.what());
    }
    transport->barrier();
    std::signal(SIGTERM, SIG_DFL);
  } catch (const GaveUp&) {
  }
  return 0;
}
