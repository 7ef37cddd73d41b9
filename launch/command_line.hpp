// The command line, understood: the names are the contract that users' scripts rely on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/calibrate_command.hpp"
#include "launch/plan_command.hpp"
#include "launch/run_request.hpp"
#include "launch/topo_command.hpp"

namespace gyre {

/// Something to do, or else a text (help, version) to print.
struct Command {
  std::string name;  // "run", "topo --help": what ranks must agree on
  std::optional<RunRequest> run{};
  std::optional<TopoRequest> topo{};
  std::optional<PlanRequest> plan{};
  std::optional<CalibrateRequest> calibrate{};
  std::string text{};
};

/// `arguments`: without the program's name. `launched`: under mpirun or srun. Throws std::invalid_argument naming the option, what
/// was given and what can be given. Touches no file but a machine and those that a mask names, by `files` (none: they are refused).
Command parse_command_line(const std::vector<std::string>& arguments, bool launched, const MaskFiles& files = {},
                           const PartitionChoice::ReadChunks& read_chunks = {});

}  // namespace gyre
