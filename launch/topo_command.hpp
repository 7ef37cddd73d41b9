// `gyre topo`: the hardware, where ranks run on it, and how to start them so that they run well.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/topology.hpp"
#include "comm/transport.hpp"

namespace gyre {

struct TopoRequest {
  std::optional<int> ranks;  // to give a line for; nothing: those of the job, or what suits one of these nodes
  std::string json_file;     // empty: not wanted
};

/// `arguments`: behind "topo". Nothing if they ask for help. Throws std::invalid_argument. Touches no file.
std::optional<TopoRequest> parse_topo(const std::vector<std::string>& arguments);
std::string topo_help();

/// Prints on rank 0. Collective; returns the same exit status on every rank. Throws std::invalid_argument, the same on every rank,
/// if the file cannot be written.
int topo_command(Transport& transport, const TopoRequest& request);

/// What is wrong with where the ranks of this job run, if this one has that many compute threads: one line on standard error, of
/// rank 0. Collective.
void warn_of_placement(Transport& transport, const Topology& topology, int threads);

}  // namespace gyre
