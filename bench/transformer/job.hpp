// What programs on ranks do alike: MPI, help, one clear message where one rank fails.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

#include "comm/mpi_transport.hpp"

namespace gyre::transformer {

/// run(command, transport) on every rank, for command = parse(argc, argv), unless it asks for its `help`. An exception ends the job
/// with status 2: the others would wait for the rank that threw it.
template <class Parse, class Run>
int run_job(int argc, char** argv, const char* program, Parse&& parse, Run&& run) {
  const MpiSession session(&argc, &argv);
  const auto transport = mpi_world_transport();
  try {
    const auto command = parse(argc, argv);
    if (command.help.empty()) return run(command, *transport);
    if (transport->rank() == 0) std::printf("%s", command.help.c_str());
  } catch (const std::exception& error) {
    transport->abort(2, std::string(program) + ": " + error.what());
  }
  return 0;
}

}  // namespace gyre::transformer
