// The errors of communication. Wrong input is a std::invalid_argument everywhere; these are what only ranks together can
// suffer. Each is raised on every rank, or the job is ended.
#pragma once

#include <stdexcept>

namespace gyre {

/// Ranks were given different inputs. The message is the same on every rank and names both sides.
struct Disagreement : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A rank is gone: it threw, exited or was killed.
struct LostPeer : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Nothing has moved for longer than the deadline: a rank is stopped, or a message is lost. Names who waits for whom, where and
/// since when.
struct Stall : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace gyre
