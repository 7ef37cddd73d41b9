// The gradients of attention on one rank.
#pragma once

#include <memory>

#include "bench/kernels/shape.hpp"
#include "bench/kernels/subject.hpp"
#include "kernels/team.hpp"

namespace gyre::bench {

/// What the forward pass saves comes from a forward pass. Results are checked in a pass of its own, over few tokens: every gradient
/// against the float64 reference. The team must outlive it and have shape.threads threads.
std::unique_ptr<Subject> make_backward(const Shape& shape, Team& team);

}  // namespace gyre::bench
