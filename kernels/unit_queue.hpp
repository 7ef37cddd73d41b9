// Sums of single units of keys, made by any thread in any order, folded into their rows in ascending order.
//
// The bits of a row depend on the order in which its units are added, so whoever is done with a unit leaves its sums in a place of
// a ring, and one thread at a time folds those whose turn has come. Nobody starts a unit that is a whole ring ahead of the last
// one folded; that is the bound on memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "kernels/floats.hpp"

namespace gyre {

class UnitQueue {
 public:
  /// Places of the ring for each thread: how many units the others may finish while one is held up.
  static constexpr int kPlacesPerThread = 8;

  /// sums_floats: of one unit; total_floats: of the rows that are being folded. Grows, and never shrinks.
  void reserve(int threads, std::int64_t sums_floats, std::int64_t total_floats) {
    if (places_ == 0) {
      places_ = threads * kPlacesPerThread;
      finished_ = std::make_unique<std::atomic<int>[]>(places_);
    }
    if (sums_floats > sums_floats_) sums_floats_ = sums_floats;
    sums_.reserve(places_ * sums_floats_);
    total_.reserve(total_floats);
  }
  std::size_t bytes() const { return sums_.bytes() + total_.bytes() + places_ * sizeof(std::atomic<int>); }

  /// Before a run, while nobody uses it.
  void begin() {
    for (int place = 0; place < places_; ++place) finished_[place].store(0, std::memory_order_relaxed);
    folded_.store(0, std::memory_order_relaxed);
    abandoned_.store(false, std::memory_order_relaxed);
  }

  /// Waits until there is a place for a unit's sums; calls idle() meanwhile. Null if the run is abandoned.
  template <class Idle>
  float* place_for(int unit, Idle&& idle) {
    while (folded_.load(std::memory_order_acquire) + places_ <= unit) {
      if (abandoned_.load(std::memory_order_relaxed)) return nullptr;
      idle();
      std::this_thread::yield();
    }
    return sums_.get() + unit % places_ * sums_floats_;
  }

  /// A unit's sums are in their place. Calls fold(unit, sums, total) for it, and for others, if their turn has come and no other
  /// thread is at it. `something`: whether there is anything to fold.
  template <class Fold>
  void finish(int unit, bool something, Fold&& fold) {
    finished_[unit % places_].store(something ? unit + 1 : -(unit + 1), std::memory_order_seq_cst);
    // Who comes while another one folds leaves: that one looks again after it has left.
    while (next_is_finished() && !folding_.exchange(true, std::memory_order_seq_cst)) {
      for (int next = folded_.load(std::memory_order_relaxed); next_is_finished();
           folded_.store(++next, std::memory_order_seq_cst)) {
        if (finished_[next % places_].load(std::memory_order_acquire) > 0) {
          fold(next, sums_.get() + next % places_ * sums_floats_, total_.get());
        } else {
          fold(next, nullptr, total_.get());
        }
      }
      folding_.store(false, std::memory_order_seq_cst);
    }
  }

  /// A unit will never be finished: nobody waits for it any more.
  void abandon() { abandoned_.store(true, std::memory_order_relaxed); }

 private:
  bool next_is_finished() const {
    const int next = folded_.load(std::memory_order_seq_cst);
    const int finished = finished_[next % places_].load(std::memory_order_seq_cst);
    return finished == next + 1 || finished == -(next + 1);
  }

  int places_ = 0;
  std::int64_t sums_floats_ = 0;
  Floats sums_, total_;
  std::unique_ptr<std::atomic<int>[]> finished_;  // [places] 1 + the unit whose sums are there, negative where it has none
  std::atomic<int> folded_ = 0;                   // units
  std::atomic<bool> folding_ = false;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace gyre
