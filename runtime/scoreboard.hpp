// The scoreboard: which earlier instructions must be complete before one may be posted. The executor waits for them, the verifier
// reasons about them; there is no other source of order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/program.hpp"

namespace gyre {

/// For every instruction of a program that is run over and over, those before it that it must wait for.
class Scoreboard {
 public:
  explicit Scoreboard(const Program& program);

  /// Instructions of the same call, ascending: the last writers of what is read (read after write), and the readers and writers of
  /// what is written (write after read, write after write), by byte ranges.
  std::span<const std::uint32_t> sources(std::size_t instruction) const {
    return std::span(sources_).subspan(first_[instruction], first_[instruction + 1] - first_[instruction]);
  }

  /// The slots that share bytes with a slot, itself included: a whole and its parts do, even where they have none.
  std::span<const SlotId> overlapping(SlotId slot) const { return overlapping_[slot]; }

 private:
  std::vector<std::vector<SlotId>> overlapping_;
  std::vector<std::uint32_t> first_;
  std::vector<std::uint32_t> sources_;
};

}  // namespace gyre
