// Attend on one rank: what a forward pass and a step of decoding compute.
#pragma once

#include <memory>

#include "bench/kernels/shape.hpp"
#include "bench/kernels/subject.hpp"
#include "kernels/team.hpp"

namespace gyre::bench {

/// Cells are packed once; before a run partials are cleared. The team must outlive it and have shape.threads threads.
std::unique_ptr<Subject> make_forward(const Shape& shape, Team& team);

}  // namespace gyre::bench
