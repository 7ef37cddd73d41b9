// What is wrong with where ranks run. It costs a factor of two or more, silently, and no program can put it right by itself.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/topology.hpp"

namespace gyre {

/// Ranks of different processes that may run on one core, ranks with more threads than cores, and ranks whose threads cross NUMA
/// nodes: a text for each such group of ranks, with the remedy, host by host. Empty if nothing is wrong. threads[r]: compute
/// threads of rank r. Pure.
std::vector<std::string> placement_warnings(std::span<const RankPlace> places, std::span<const int> threads);

/// Throws std::invalid_argument if the ranks of a host together start far more threads than it has: more than 16 for each hardware
/// thread (but 256 are always allowed, to try things) or more than 4,096. Pure.
void require_few_threads(std::span<const RankPlace> places, std::span<const int> threads);

/// "0-3,7" of {0, 1, 2, 3, 7}.
std::string ranges_text(std::span<const int> ascending);

}  // namespace gyre
