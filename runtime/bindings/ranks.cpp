#include "runtime/bindings/ranks.hpp"

#include "comm/loopback_transport.hpp"
#include "comm/mpi_transport.hpp"
#include "comm/topology.hpp"

namespace gyre {

Ranks::Ranks() = default;
Ranks::~Ranks() = default;
Ranks::Ranks(Ranks&&) noexcept = default;
Ranks& Ranks::operator=(Ranks&&) noexcept = default;

Ranks Ranks::of_communicator(int fortran_handle) {
  Ranks ranks;
  ranks.transport_ = mpi_transport(fortran_handle);
  return ranks;
}

Ranks Ranks::alone() {
  Ranks ranks;
  ranks.world_ = std::make_unique<LoopbackWorld>(1);
  ranks.transport_ = ranks.world_->transport(0);
  return ranks;
}

int Ranks::threads(int given) const {
  const bool asked = maximum_over_ranks(*transport_, given == 0 ? 1 : 0) > 0;  // of any rank: the topology is found together
  if (!asked) return given;
  const int share = discover_topology(*transport_).default_threads();
  return given == 0 ? share : given;
}

}  // namespace gyre
