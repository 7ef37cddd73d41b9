// Long work outside of Gyre's own loops, without being taken for dead.
#pragma once

#include <functional>

#include "comm/transport.hpp"

namespace gyre {

/// Runs a local step (reading a large file, allocating, checking) on a helper thread, while the calling thread answers other ranks.
/// The step must not touch the transport. What it throws is rethrown here. Local: ranks need not call it together.
///
/// If the transport throws meanwhile (a lost peer, a job that is ended from outside), the job is ended with status 3 at once: the
/// step cannot be broken off, and nobody would wait for it.
void while_alive(Transport& transport, const std::function<void()>& step);

}  // namespace gyre
