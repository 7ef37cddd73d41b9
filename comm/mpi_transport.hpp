// MPI behind the transport. No MPI type appears here, so that whoever includes this needs no MPI header.
#pragma once

#include <cstddef>
#include <memory>

#include "comm/transport.hpp"

namespace gyre {

/// Initialises MPI (funneled threads) unless somebody has, and finalises it if it was ours. One per process.
///
/// Finalising waits for every rank. An exception that one rank alone lets pass this object would leave it waiting for ranks that
/// wait for it: catch it inside, and end the job with Transport::abort.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  bool ours_ = false;
};

/// MPI counts in int; a longer transfer travels in pieces of this size, still one ticket.
inline constexpr std::size_t kLargestPieceBytes = std::size_t{1} << 30;

/// A transport over a duplicate of the given communicator, so that its messages never meet the caller's. Collective over it.
/// The handle is the Fortran one (`MPI_Comm_c2f`). Throws std::invalid_argument if MPI is not initialised. piece_bytes must be the
/// same on all ranks, at most kLargestPieceBytes.
///
/// A lane is an MPI tag. Large messages to a rank on a lane leave one behind the other, so that the first does not arrive with the
/// last. Unequal sizes are a std::logic_error on the receiver alone: MPI does not tell the sender.
///
/// Memory is shared through files in /dev/shm (see node.hpp). Ranks that cannot open each other's are of different nodes; all are
/// where one finds no room for a few pages. ranks_per_node is for tests that play several nodes on one machine: ranks 0 to n - 1
/// are the first one, and so on.
///
/// Destroyed with transfers in flight (a rank that unwinds), it cancels its receives, gives sends a second to find their receiver,
/// and then ends the job: MPI would go on reading and writing buffers that are being freed.
std::unique_ptr<Transport> mpi_transport(int fortran_communicator, std::size_t piece_bytes = kLargestPieceBytes,
                                         int ranks_per_node = 0);
/// Over MPI_COMM_WORLD.
std::unique_ptr<Transport> mpi_world_transport(std::size_t piece_bytes = kLargestPieceBytes, int ranks_per_node = 0);

}  // namespace gyre
