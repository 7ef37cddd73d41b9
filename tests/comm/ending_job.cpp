// ending_job aborts | unwinds: ranks that do not reach the end. Rank 1 gives up; the others wait for it until the job is ended.
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/mpi_transport.hpp"

namespace {

void give_up(gyre::Transport& transport, const std::string& how) {
  if (how == "aborts") transport.abort(3, "rank 1 gives up");
  throw std::runtime_error("rank 1 gives up");
}

}  // namespace

int main(int argc, char** argv) {
  const gyre::MpiSession session(&argc, &argv);
  const std::string how = argc > 1 ? argv[1] : "";
  std::vector<std::byte> large(1 << 20);  // beyond what MPI sends eagerly
  try {
    const auto transport = gyre::mpi_world_transport();
    if (transport->rank() == 1) {
      transport->send(0, 7, large);
      give_up(*transport, how);
    }
    const gyre::Ticket never = transport->receive(1, 0, large);
    while (!transport->test(never)) {
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
