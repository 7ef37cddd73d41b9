// `gyre topo`: the hardware, where ranks run on it, and how to start them so that they run well.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/topology.hpp"
#include "comm/transport.hpp"
#include "launch/print.hpp"

namespace gyre {

struct TopoRequest {
  std::optional<int> ranks;  // to give a line for; nothing: those of the job, or what suits one of these nodes
  std::string json_file;     // empty: not wanted
  Printed printed = Printed::page;
};

/// `arguments`: behind "topo". Nothing if they ask for help. Throws std::invalid_argument. Touches no file.
std::optional<TopoRequest> parse_topo(const std::vector<std::string>& arguments);
std::string topo_help();

/// Prints on rank 0. Collective; returns the same exit status on every rank. Throws std::invalid_argument, the same on every rank,
/// if the file cannot be written.
int topo_command(Transport& transport, const TopoRequest& request);

/// The compute threads of every rank. Collective.
std::vector<int> gather_threads(Transport& transport, int threads);

/// One line on standard error if something is wrong with where ranks run or with what mpirun was told. Local; rank 0 says it.
void warn_of_launch(const Topology& topology, std::span<const int> threads, double deadline_seconds);

}  // namespace gyre
