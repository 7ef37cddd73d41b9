// Was this process started by mpirun or srun? With open_mpi_settings, the one place of the house that reads the environment.
#pragma once

namespace gyre {

struct Launcher {
  bool present = false;
  int ranks = 0;  // of the job, as the launcher tells; 0: it does not
  int rank = 0;   // of this process
  /// No process above this one is a launcher: the variables stayed behind from a job that is over, and this is its only process.
  bool left_over = false;
};

Launcher detect_launcher();

/// Throws std::invalid_argument if MPI sees another number of ranks than the launcher started: then every process takes itself for
/// a job of its own, and they would write the same files.
void require_one_job(const Launcher& launcher, int mpi_ranks);

}  // namespace gyre
