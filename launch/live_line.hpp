// One line on a terminal that says where a long run stands. It is overwritten in place and leaves nothing behind.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/timeline.hpp"

namespace gyre {

/// Text in place, on a descriptor that somebody else owns. Never waits for a terminal that takes nothing (Ctrl-S): the text is
/// skipped then.
class TerminalLine {
 public:
  explicit TerminalLine(int descriptor) : descriptor_(descriptor) {}
  ~TerminalLine() { erase(); }
  TerminalLine(const TerminalLine&) = delete;
  TerminalLine& operator=(const TerminalLine&) = delete;

  void show(std::string text);  // cut to the terminal's width, since a line that wraps cannot be overwritten
  void erase() { show(""); }

 private:
  int descriptor_;
  std::size_t shown_ = 0;  // characters that stand there
};

/// Where a series of calls stands, as one rank sees it.
struct CallStatus {
  std::string call;            // "repetition 2 of 5"
  std::uint32_t stage = 0;     // of the program
  double share_done = 0;       // of the call
  double call_seconds = 0;     // since it began
  double waiting_seconds = 0;  // of these
  double flops_of_rank = 0;    // that a rank has in a whole call
  int calls = 1;               // in all
  int calls_done = 0;
  double calls_done_seconds = 0;  // that those took
};

/// "repetition 2 of 5, stage 3: 43% done, 98.2 GFLOP/s a rank, waiting 3%, 12 s left". GFLOP/s and the time left once they can be
/// told.
std::string to_text(const CallStatus& status);

/// What a job shows of itself on its first rank. Local; one thread.
class LiveLine {
 public:
  static constexpr double kSecondsBetween = 0.2;

  /// A descriptor below 0 shows nothing, and costs nothing.
  explicit LiveLine(int descriptor) : shown_(descriptor >= 0), line_(descriptor) {}

  void phase(const std::string& text);  // at once: "reading"
  void begin_calls(int calls, double flops_of_rank);
  void begin_call(std::string name);
  void end_call();
  void erase();

  /// To be called from inside a call: a clock read, and five times a second a line. Null if nothing is shown.
  const std::function<void(const Progress&)>* progress() const { return shown_ ? &progress_ : nullptr; }

 private:
  void tell(const Progress& progress);

  bool shown_;
  TerminalLine line_;
  CallStatus status_;
  double call_began_ = 0;
  double next_ = 0;  // when to show the line again
  std::function<void(const Progress&)> progress_ = [this](const Progress& progress) { tell(progress); };
};

}  // namespace gyre
