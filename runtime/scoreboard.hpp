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

 private:
  std::vector<std::uint32_t> first_;
  std::vector<std::uint32_t> sources_;
};

/// True if the bytes of two slots overlap (or they are the same user slot).
bool overlap(const Program& program, SlotId a, SlotId b);

}  // namespace gyre
