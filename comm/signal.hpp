// What ranks tell each other outside of lanes: who lives, and who speaks last. See heartbeat.hpp.
#pragma once

#include <cstdint>

namespace gyre {

struct Signal {
  enum class Kind : std::uint32_t { ask, alive, last_word };

  Kind kind = Kind::ask;
  std::int32_t from = 0;

  // of alive: the newest sign of life that the sender knows of in what it waits for, itself included
  std::int32_t origin = 0;   // whose life it is
  std::uint64_t number = 0;  // which of the origin's signs
  double age_seconds = 0;    // since it was given, as far as the sender knows

  std::int32_t urgency = 0;  // of last_word: the lowest speaks, the lowest rank among equals
};

}  // namespace gyre
