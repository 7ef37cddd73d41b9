// The verifier: proves, before a byte moves and without MPI, that the programs of all ranks together compute what was asked.
//
// It assumes no buffering anywhere. Posting is in program order; an instruction is posted when its sources (scoreboard) are
// complete; a send and its receive complete once both are posted; everything else completes when posted. These rules leave no
// choice that matters, so one run to the end decides: if it gets stuck, the waiting graph has a cycle and some timing deadlocks; if
// it ends, none does. Along the run, slots hold symbols (which cells, written when), and a partial the set of tiles that it covers:
//
//   matching    the k-th send from a to b on a lane meets b's k-th receive: same cells, role and bytes
//   lending     the k-th expose from a to b is b's k-th borrow from a, inside a node: same cells, where the owner has them; a
//   borrow
//               is complete once it is exposed, an expose once it is released
//   content     every cell read is there, whole, and not overwritten by a slot that overlaps; inputs are never written
//   meaning     every tile with a visible pair is attended exactly once, by the rank that finishes its rows, and before it does;
//               backward, every tile's share comes exactly once into the gradient of its queries and once into that of its keys
//   memory      slots lie inside the arena, cells inside their slots
//
// Everything is checked for two calls in a row.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

struct Verdict {
  std::vector<std::string> problems;  // empty: proven. At most a few are kept; each names rank and instruction.
  std::int64_t largest_arena_bytes = 0;
  std::uint64_t messages = 0;        // of one call, all ranks
  std::uint64_t bytes_sent = 0;      // of one call, all ranks
  std::uint64_t bytes_borrowed = 0;  // of one call, all ranks
  explicit operator bool() const { return problems.empty(); }
};

/// programs[r] is rank r's. nodes: of every rank; empty: each is on a node of its own.
Verdict verify(const Layout& layout, std::span<const Program> programs, std::span<const int> nodes = {});

}  // namespace gyre
