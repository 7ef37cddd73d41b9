// SIGTERM: mpirun sends it to the ranks that are left when one of them is killed, and kills them a second later. That is time
// enough for one of them to say what happened.
#pragma once

#include <atomic>

namespace gyre {

/// Takes SIGTERM over, once; the flag is raised when it comes (Heartbeat::end_with). Whoever takes it must look at the flag.
const std::atomic<bool>& take_over_ending();

/// SIGTERM ends the process again.
void give_back_ending();

}  // namespace gyre
