// A transport for tests: delays and reorders what another transport delivers, by seed; loses a message for ever; flips a bit.
//
// Order within a (peer, lane, direction) is a promise of every transport and is kept; everything else (which lane moves first,
// when a posting takes effect, when and in which order completions are reported) is drawn from the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "comm/transport.hpp"

namespace gyre {

struct Faults {
  std::uint64_t seed = 1;
  int longest_delay = 20;  // calls of test() or progress() that a posting or a completion may be held back
  /// This posting of the rank (counted from 0) never takes effect: the transfer or loan stays incomplete on both sides. -1: none.
  std::int64_t stall_after = -1;
  /// One bit, drawn from the seed, of the rank's receive with this number (counted from 0 as they complete, empty ones left out) is
  /// flipped. -1: none.
  std::int64_t flip_after = -1;
  std::function<void(int peer, std::int64_t bit)> flipped{};  // hears of it: a bit of the message from that rank
};

/// Wraps `inner`. Local.
std::unique_ptr<Transport> faulty_transport(std::unique_ptr<Transport> inner, Faults faults);
/// Over a transport that somebody else owns and that must outlive this one.
std::unique_ptr<Transport> faulty_transport(Transport& inner, Faults faults);

}  // namespace gyre
