// Brute-force execution of programs: the judge of the verifier.
//
// It shares no reasoning with the verifier. Every rank has a memory of 64-byte lines that hold symbols; transfers copy line by line
// at random moments between posting and completion; a posted receive poisons its target at once. Which rank moves next, and how far
// a transfer has come, is drawn from a seed. What a call computes is judged pair by pair against the mask.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre::test {

/// nodes: of every rank, empty if none shares memory. Runs two calls under one random timing. Empty if every rank ends with exactly
/// the right pairs in every row; otherwise what went wrong.
std::string brute_force(const Layout& layout, std::span<const Program> programs, std::uint64_t seed,
                        std::span<const int> nodes = {});

}  // namespace gyre::test
