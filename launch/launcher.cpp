#include "launch/launcher.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace gyre {
namespace {

struct Family {
  const char* ranks;
  const char* rank;
};

// The launcher that is nearest to this process comes first: mpirun inside a Slurm job starts its daemons by srun.
constexpr Family kFamilies[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},  // Open MPI's mpirun
    {"PMI_SIZE", "PMI_RANK"},                          // MPICH's, Intel's, srun --mpi=pmi2
    {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},          // srun
};

int number(const char* variable, int otherwise) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return otherwise;
  int value = otherwise;
  std::from_chars(text, text + std::strlen(text), value);
  return value;
}

}  // namespace

Launcher detect_launcher() {
  for (const Family& family : kFamilies) {
    const int ranks = number(family.ranks, 0);
    if (ranks > 0) return {.present = true, .ranks = ranks, .rank = number(family.rank, 0)};
  }
  if (std::getenv("PMIX_RANK") != nullptr) return {.present = true, .ranks = 0, .rank = number("PMIX_RANK", 0)};
  return {};
}

void require_one_job(const Launcher& launcher, int mpi_ranks) {
  if (launcher.ranks == 0 || launcher.ranks == mpi_ranks) return;
  throw std::invalid_argument("the launcher started " + std::to_string(launcher.ranks) + " processes, but MPI sees " +
                              std::to_string(mpi_ranks) +
                              "; start them with the mpirun of the MPI that gyre was built with, or with srun --mpi=pmix");
}

}  // namespace gyre
