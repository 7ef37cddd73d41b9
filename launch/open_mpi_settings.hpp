// Settings of Open MPI that a job on several nodes wants: what a program can set, Gyre sets itself before MPI starts; what belongs
// to mpirun and its daemons stands in the lines that `gyre topo` prints, and a run without it says so.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace gyre {

/// For mpirun's line, on several nodes: "--mca NAME VALUE" for each setting. Pure.
std::vector<std::string> open_mpi_words();

/// Sets in this process's environment what MPI reads when it starts in it. What the user has set, by mpirun or by variable, stays.
/// Call it before MPI_Init.
void set_open_mpi();

/// A warning if mpirun started this process on several nodes and would notice a host that is cut off too late. Reads the
/// environment, where mpirun leaves the settings of its command line and of variables; those of files are not seen.
std::optional<std::string> open_mpi_warning(int nodes, double deadline_seconds);

}  // namespace gyre
