// `gyre run`: from files to files, each rank with its own rows and no more.
#pragma once

#include "comm/transport.hpp"
#include "launch/run_request.hpp"

namespace gyre {

/// Exit statuses that scripts rely on.
inline constexpr int kSuccess = 0, kCheckFailed = 1, kWrongInput = 2, kLost = 3;

/// Runs what was asked for and prints the report on rank 0. Collective; returns the same exit status on every rank. Throws
/// std::invalid_argument, the same on every rank, on wrong input; anything else is a failure of this rank alone.
int run_command(Transport& transport, const RunRequest& request);

}  // namespace gyre
