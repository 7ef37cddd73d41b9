// `gyre calibrate`: measures what ranks compute and what passes between them, and writes the machine file that `gyre plan`,
// `--strategy auto` and `--replay` read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "launch/calibrate_request.hpp"

namespace gyre {

/// `arguments`: behind "calibrate". `launched`: under mpirun or srun. Nothing if they ask for help. Throws std::invalid_argument.
std::optional<CalibrateRequest> parse_calibrate(const std::vector<std::string>& arguments, bool launched);
std::string calibrate_help();

/// Ranks inside this process that a request without a launcher is for.
int ranks_of(const CalibrateRequest& request);

/// Measures, writes, and rank 0 prints. Returns the exit status. Collective. Throws std::invalid_argument, the same on every rank,
/// if the file cannot be written: before anything is measured.
int calibrate_command(Transport& transport, const CalibrateRequest& request);

}  // namespace gyre
