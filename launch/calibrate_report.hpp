// What `gyre calibrate` has found: as a machine file whose numbers say where they come from, and as a page.
#pragma once

#include <string>

#include "launch/calibrate_links.hpp"
#include "runtime/machine.hpp"

namespace gyre {

struct Calibration {
  KernelModel kernels;
  AllLinkFigures links;
  double memory_bytes_per_rank = 0;  // 0: the system does not tell
  int ranks = 1;
  int nodes = 1;
  int rounds = 1;
  std::string host;  // of rank 0
  std::string date;
  bool one_process = false;  // ranks are threads: their messages are copies in memory, not MPI's
  double seconds = 0;        // that it took
};

/// What was not measured is as on the machine that is assumed without a file, and says so.
Machine machine_of(const Calibration& found, const std::string& name);
std::string machine_file(const Calibration& found, const std::string& name);
std::string to_text(const Calibration& found, const std::string& file);

}  // namespace gyre
