// Nodes of MPI ranks, and memory that they share. Private to comm/.
//
// POSIX shared memory, not an MPI window (MPI_Win_allocate_shared): destroying a window is collective, so a rank that unwinds could
// not let go of it; a full /dev/shm shows as a SIGBUS at some later write, not as an error; and MPI says which ranks share memory
// by its own transports' opinion, which it can be told to change. Here the file has lost its name before it has a size, so that a
// killed job leaves at most an empty file behind, and its pages are reserved before anybody writes.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/shared_file.hpp"
#include "comm/transport.hpp"

namespace gyre {

/// Node of every rank. Ranks of one node run under one kernel and host name, see the same /dev/shm, and have opened each other's
/// files there. A rank that has no /dev/shm is a node of its own. ranks_per_node (for tests): ranks further apart than
/// that are of different nodes; 0 is any number. Uses the transport's collectives alone. Collective.
std::vector<int> discover_nodes(Transport& transport, int ranks_per_node);

/// A process on this kernel; of other kernels or process-id namespaces: nothing is known.
struct ProcessId {
  std::uint64_t space = 0;  // kernel and process-id namespace; 0: not this process's own
  std::int64_t number = 0;

  /// Dead, or a zombie that its parent has not looked at yet.
  bool gone() const;
};

/// The process of every rank. Collective.
std::vector<ProcessId> gather_processes(Transport& transport);

/// `bytes` (each rank its own number) of every rank of this rank's node, this rank's own among them. Own pages can always be
/// written, others' according to `access`. Throws std::invalid_argument on every rank if there is no room. Collective.
std::vector<SharedMemory::Region> share_pages(Transport& transport, std::span<const int> nodes, std::size_t bytes, Access access);

}  // namespace gyre
