// `gyre plan`: what a job would take by every strategy and placement, on a machine that need not be there. No MPI.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/print.hpp"
#include "runtime/machine.hpp"
#include "runtime/problem.hpp"

namespace gyre {

struct PlanRequest {
  int ranks = 1;
  int ranks_per_node = 1;
  Problem problem;
  Options options;  // automatic partition and strategy: every one
  Machine machine;
  std::string json_file, draw_file;  // empty: not wanted
  Printed printed = Printed::page;
};

/// `arguments`: behind "plan". Nothing if they ask for help. Throws std::invalid_argument. Reads the files of mask and machine.
std::optional<PlanRequest> parse_plan(const std::vector<std::string>& arguments, const MaskFiles& files);
std::string plan_help();

/// Writes and prints. Returns the exit status. Local: of several processes, one does it. Throws std::invalid_argument if a file
/// cannot be written.
int plan_command(const PlanRequest& request);

}  // namespace gyre
