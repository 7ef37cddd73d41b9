// What the instructions of a program cost on a machine: all that a simulation needs to know of them.
//
// Programs are streamed through here: a rank's program of a large job is built, reduced to its costs (a few dozen bytes for each
// instruction) and dropped.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/machine.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// Visible pairs of rectangles of units, counted by bands and remembered: schedules over one layout attend the same tiles.
class PairCounts {
 public:
  /// The layout must outlive this.
  explicit PairCounts(const Layout& layout);
  /// Of one query head, units [begin, end) of each axis. Where heads see different keys, their mean.
  double pairs(Range query_units, Range key_units);
  const Layout& layout() const { return layout_; }

 private:
  double count(Range query_units, Range key_units) const;

  const Layout& layout_;
  std::vector<double> of_units_;  // [query unit][key unit], kUnknown until asked for; empty if there are too many
  struct Hash {
    std::size_t operator()(const std::pair<std::uint64_t, std::uint64_t>& key) const {
      return static_cast<std::size_t>((key.first * 0x9e3779b97f4a7c15ULL) ^ ((key.second + 0x7f4a7c15ULL) * 0xc2b2ae3d27d4eb4fULL));
    }
  };
  std::unordered_map<std::pair<std::uint64_t, std::uint64_t>, double, Hash> known_;
};

/// One instruction. Transfers have bytes, messages and a peer; the others take their seconds of the rank.
struct CostedInstruction {
  Op op = Op::apply;
  std::uint8_t lane = 0;
  std::int32_t peer = -1;
  std::int32_t messages = 0;
  std::uint32_t stage = 0;
  std::int64_t bytes = 0;
  double seconds = 0;
  std::uint32_t sources = 0, source_count = 0;  // of CostedProgram::sources: what has to be complete before it
};

struct CostedProgram {
  std::vector<CostedInstruction> instructions;
  std::vector<std::uint32_t> sources;
  std::int64_t memory_bytes = 0;  // of slots, the shared ones included
};

CostedProgram costs_of(const Program& program, const Machine& machine, PairCounts& counts);

}  // namespace gyre
