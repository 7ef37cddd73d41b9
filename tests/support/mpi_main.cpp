// The runner of tests under mpirun: every rank runs every test; output is held back and shown for ranks that failed (and rank 0),
// so that ranks do not interleave; the job fails if any rank did.
#include <mpi.h>

#include <algorithm>
#include <iostream>
#include <sstream>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);

  std::ostringstream held;
  std::streambuf* const terminal = std::cout.rdbuf(held.rdbuf());
  const int failed = std::min(Catch::Session().run(argc, argv), 125);
  std::cout.rdbuf(terminal);

  int worst = 0;
  MPI_Allreduce(&failed, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  if (failed != 0 || rank == 0) std::cout << "rank " << rank << ":\n" << held.str() << std::flush;
  MPI_Finalize();
  return worst;
}
