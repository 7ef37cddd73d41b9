#include "launch/live_line.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr std::size_t kWidthOfNoTerminal = 100;

std::size_t width_of(int descriptor) {
  struct winsize size {};
  const bool known = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col - 1u : kWidthOfNoTerminal;  // the last column makes some terminals wrap
}

bool takes_text(int descriptor) {
  struct pollfd ready {
    .fd = descriptor, .events = POLLOUT, .revents = 0
  };
  return ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void TerminalLine::show(std::string text) {
  if (descriptor_ < 0 || (text.empty() && shown_ == 0) || !takes_text(descriptor_)) return;
  const std::size_t width = width_of(descriptor_);
  text.resize(std::min(text.size(), width));
  const std::size_t length = text.size();
  text.resize(std::max(length, std::min(shown_, width)), ' ');  // over what stood there
  if (length == 0) text += '\r';
  text.insert(text.begin(), '\r');
  if (::write(descriptor_, text.data(), text.size()) > 0) shown_ = length;
}

std::string to_text(const CallStatus& status) {
  std::string text = status.call + ", stage " + std::to_string(status.stage) + format(": %.0f%% done", 100 * status.share_done);
  if (status.call_seconds > 0 && status.share_done > 0) {
    text += format(", %.3g GFLOP/s a rank", status.share_done * status.flops_of_rank / status.call_seconds / 1e9);
    text += format(", waiting %.0f%%", 100 * status.waiting_seconds / status.call_seconds);
  }
  const double done = status.calls_done + status.share_done;
  const double spent = status.calls_done_seconds + status.call_seconds;
  if (done > 0) text += ", " + duration_text(spent / done * (status.calls - done)) + " left";
  return text;
}

void LiveLine::phase(const std::string& text) {
  if (shown_) line_.show("gyre: " + text);
}

void LiveLine::begin_calls(int calls, double flops_of_rank) {
  status_ = {};
  status_.calls = calls;
  status_.flops_of_rank = flops_of_rank;
}

void LiveLine::begin_call(std::string name) {
  if (!shown_) return;
  status_.call = std::move(name);
  call_began_ = now_seconds();
}

void LiveLine::end_call() {
  if (!shown_) return;
  ++status_.calls_done;
  status_.calls_done_seconds += now_seconds() - call_began_;
}

void LiveLine::erase() {
  if (shown_) line_.erase();
}

void LiveLine::tell(const Progress& progress) {
  const double now = now_seconds();
  if (now < next_) return;
  next_ = now + kSecondsBetween;
  status_.stage = progress.stage;
  status_.share_done = progress.share_done;
  status_.call_seconds = now - call_began_;
  status_.waiting_seconds = progress.waiting_seconds;
  line_.show("gyre: " + to_text(status_));
}

}  // namespace gyre
