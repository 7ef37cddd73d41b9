// The live line: what it says. That it appears on a terminal and nowhere else is tested on the command.
#include "launch/live_line.hpp"

#include <unistd.h>

#include <array>

#include "support/catch.hpp"

using namespace gyre;

TEST_CASE("the line says step, share, speed, waiting and the time left") {
  CallStatus status;
  status.call = "repetition 2 of 5";
  status.stage = 3;
  status.share_done = 0.5;
  status.call_seconds = 10;
  status.waiting_seconds = 1;
  status.flops_of_rank = 2e12;
  status.calls = 6;
  status.calls_done = 2;
  status.calls_done_seconds = 30;
  // 40 s for two and a half calls: 16 s each, three and a half to go
  CHECK(to_text(status) == "repetition 2 of 5, stage 3: 50% done, 100 GFLOP/s a rank, waiting 10%, 56 s left");
}

TEST_CASE("nothing is said of speed and time left before anything is done") {
  CallStatus status;
  status.call = "warm-up";
  status.call_seconds = 1;
  status.calls = 6;
  CHECK(to_text(status) == "warm-up, stage 0: 0% done");
}

TEST_CASE("a line is written over the one before and erased at the end, and one that nobody wants costs no callback") {
  CHECK(LiveLine(-1).progress() == nullptr);
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  {
    TerminalLine line(ends[1]);
    line.show("long text");
    line.show("short");
    line.erase();
    line.erase();
  }
  ::close(ends[1]);
  std::array<char, 100> written{};
  const auto size = ::read(ends[0], written.data(), written.size());
  ::close(ends[0]);
  CHECK(std::string(written.data(), static_cast<std::size_t>(size)) == "\rlong text\rshort    \r     \r");
}
