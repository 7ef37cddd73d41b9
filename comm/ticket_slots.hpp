// Slots behind tickets: a slot keeps its address while its transfer is in flight, and a ticket costs no allocation while there are
// free slots. Private to comm/.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/transport.hpp"

namespace gyre {

template <class Slot>
class TicketSlots {
 public:
  void reserve(std::size_t transfers) {
    free_.reserve(transfers);
    while (entries_.size() < transfers) {
      free_.push_back(static_cast<std::uint32_t>(entries_.size()));
      entries_.emplace_back();
    }
  }

  /// The slot holds whatever its last transfer left there.
  Ticket acquire() {
    if (free_.empty()) reserve(std::max<std::size_t>(16, 2 * entries_.size()));
    const std::uint32_t index = free_.back();
    free_.pop_back();
    entries_[index].in_flight = true;
    return Ticket{index};
  }

  /// Throws std::logic_error for a ticket that is not in flight.
  Slot& operator[](Ticket ticket) {
    const auto index = static_cast<std::uint32_t>(ticket);
    if (index >= entries_.size() || !entries_[index].in_flight) {
      throw std::logic_error("ticket " + std::to_string(index) + " is not in flight: a ticket is dead once test() has said true");
    }
    return entries_[index].slot;
  }

  void release(Ticket ticket) {
    const auto index = static_cast<std::uint32_t>(ticket);
    entries_[index].in_flight = false;
    free_.push_back(index);
  }

  template <class Visit>
  void each_in_flight(Visit&& visit) {
    for (Entry& entry : entries_) {
      if (entry.in_flight) visit(entry.slot);
    }
  }

 private:
  struct Entry {
    Slot slot;
    bool in_flight = false;
  };

  std::deque<Entry> entries_;        // never shrinks; a deque, so that growing moves no slot
  std::vector<std::uint32_t> free_;  // as large as entries_, so that releasing never allocates
};

}  // namespace gyre
