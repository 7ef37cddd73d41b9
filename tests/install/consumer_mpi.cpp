// A program that runs under MPI already and gives Gyre a communicator of its own: the ranks of the job in reverse.
#include <mpi.h>

#include <cstdio>
#include <gyre/comm/mpi_transport.hpp>

#include "consumer.hpp"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm reversed = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, 0, ranks - rank, &reversed);
  int failed = 1;
  {
    const auto transport = gyre::mpi_transport(MPI_Comm_c2f(reversed));
    const double error = largest_error(*transport);
    std::printf("rank %d of %d: largest error %.1e\n", transport->rank(), transport->ranks(), error);
    failed = error < 1e-6 && transport->ranks() == ranks && transport->rank() == ranks - 1 - rank ? 0 : 1;
  }
  MPI_Comm_free(&reversed);
  MPI_Finalize();
  return failed;
}
