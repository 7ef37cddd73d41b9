#include "launch/ending.hpp"

#include <csignal>

namespace gyre {
namespace {

std::atomic<bool> ended = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

}  // namespace

const std::atomic<bool>& take_over_ending() {
  std::signal(SIGTERM, [](int) { ended.store(true, std::memory_order_relaxed); });
  return ended;
}

void give_back_ending() {
  std::signal(SIGTERM, SIG_DFL);
  if (ended.load(std::memory_order_relaxed)) std::raise(SIGTERM);
}

}  // namespace gyre
