// The ranks that a caller from another language brings: those of an MPI communicator, or itself alone.
#pragma once

#include <memory>

#include "comm/transport.hpp"

namespace gyre {

class Ranks {
 public:
  /// The ranks of a communicator, by its Fortran handle (MPI_Comm_c2f). Collective over it. Throws std::invalid_argument if MPI is
  /// not initialised.
  static Ranks of_communicator(int fortran_handle);
  /// This process alone: no MPI.
  static Ranks alone();
  ~Ranks();
  Ranks(Ranks&&) noexcept;
  Ranks& operator=(Ranks&&) noexcept;

  Transport& transport() const { return *transport_; }

  /// Threads of this rank: what it was given, or where that is 0 its share of the cores that it is bound to. Collective.
  int threads(int given) const;

 private:
  Ranks();
  std::unique_ptr<class LoopbackWorld> world_;  // of one rank; outlives its transport
  std::unique_ptr<Transport> transport_;
};

}  // namespace gyre
