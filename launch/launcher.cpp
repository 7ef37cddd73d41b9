#include "launch/launcher.hpp"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

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

/// Name and parent of a process: "123 (orted) S 1 ...".
std::pair<std::string, int> process(int id) {
  std::ifstream file("/proc/" + std::to_string(id) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t begin = text.find('('), end = text.rfind(')');
  if (begin == std::string::npos || end == std::string::npos || end + 4 >= text.size()) return {"", 0};
  return {text.substr(begin + 1, end - begin - 1), std::atoi(text.c_str() + end + 4)};
}

bool runs_under_a_launcher() {
  constexpr std::string_view kNames[] = {"mpirun", "mpiexec", "orterun",    "orted", "prte",
                                         "hydra",  "srun",    "slurmstepd", "pbs",   "jsm"};
  for (auto [name, parent] = process(::getppid()); !name.empty(); std::tie(name, parent) = process(parent)) {
    for (const std::string_view known : kNames) {
      if (name.find(known) != std::string::npos) return true;
    }
  }
  return false;
}

Launcher by_variables() {
  for (const Family& family : kFamilies) {
    const int ranks = number(family.ranks, 0);
    if (ranks > 0) return {.present = true, .ranks = ranks, .rank = number(family.rank, 0)};
  }
  if (std::getenv("PMIX_RANK") != nullptr) return {.present = true, .ranks = 0, .rank = number("PMIX_RANK", 0)};
  return {};
}

}  // namespace

Launcher detect_launcher() {
  Launcher launcher = by_variables();
  launcher.left_over = launcher.present && !runs_under_a_launcher();
  return launcher;
}

void require_one_job(const Launcher& launcher, int mpi_ranks) {
  if (launcher.ranks == 0 || launcher.ranks == mpi_ranks) return;
  if (launcher.left_over) {
    throw std::invalid_argument(
        "the environment speaks of " + std::to_string(launcher.ranks) +
        " processes, but there is no launcher, only variables of a job that is over; unset OMPI_*, PMI* and "
        "SLURM_*, or start with mpirun");
  }
  throw std::invalid_argument("the launcher started " + std::to_string(launcher.ranks) + " processes, but MPI sees " +
                              std::to_string(mpi_ranks) +
                              "; start them with the mpirun of the MPI that gyre was built with, or with srun --mpi=pmix");
}

}  // namespace gyre
