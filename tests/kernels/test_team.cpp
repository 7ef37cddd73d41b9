// The thread team.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/team.hpp"
#include "support/catch.hpp"

namespace gyre {

TEST_CASE("every task is done once, whatever the numbers of threads and tasks") {
  for (const int threads : {1, 2, 3, 8}) {
    Team team(threads);
    CHECK(team.size() == threads);
    for (const int tasks : {0, 1, 2, 7, 100, 1000}) {
      std::vector<int> done(tasks, 0);  // not atomic: one writer each, ordered before the return of run
      bool right_worker = true;
      team.run(
          tasks,
          [&](int task, int worker) {
            ++done[task];
            if (worker < 0 || worker >= threads) right_worker = false;
          },
          [] {});
      CHECK(std::accumulate(done.begin(), done.end(), 0) == tasks);
      CHECK((tasks == 0 || *std::min_element(done.begin(), done.end()) == 1));
      CHECK(right_worker);
    }
  }
}

TEST_CASE("worker 0 is the calling thread and no other task of it runs elsewhere") {
  Team team(3);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> right = true;
  for (int round = 0; round < 50; ++round) {
    team.run(
        20,
        [&](int, int worker) {
          if ((std::this_thread::get_id() == caller) != (worker == 0)) right = false;
        },
        [&] {
          if (std::this_thread::get_id() != caller) right = false;
        });
  }
  CHECK(right);
}

TEST_CASE("the caller idles while others work") {
  Team team(2);
  std::atomic<int> idles = 0;
  std::atomic<bool> other_began = false;
  team.run(
      2,
      [&](int, int worker) {
        if (worker == 0) {
          while (!other_began) std::this_thread::yield();
        } else {
          other_began = true;
          while (idles < 3) std::this_thread::yield();
        }
      },
      [&] { ++idles; });
  CHECK(idles >= 3);
}

TEST_CASE("the first exception comes out of run, the rest is dropped, and the team works on") {
  for (const int threads : {1, 2, 4}) {
    Team team(threads);
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> done = 0;
      const auto body = [&](int task, int) {
        if (task == 5) throw std::runtime_error("task 5");
        if (task > 5) std::this_thread::sleep_for(std::chrono::microseconds(20));  // time for whoever throws to be heard
        ++done;
      };
      CHECK_THROWS_WITH(team.run(100000, body, [] {}), "task 5");
      CHECK(done < 99999);
      int sum = 0;
      team.run(
          1, [&](int, int) { sum = 1; }, [] {});
      CHECK(sum == 1);
    }
  }
}

TEST_CASE("an exception of idle waits for the workers before it comes out") {
  Team team(2);
  std::atomic<int> idles = 0;
  std::atomic<bool> other_began = false, other_ended = false;
  const auto body = [&](int, int worker) {
    if (worker == 0) {
      while (!other_began) std::this_thread::yield();
    } else {
      other_began = true;
      while (idles == 0) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      other_ended = true;
    }
  };
  const auto idle = [&] {
    ++idles;
    throw std::runtime_error("idle");
  };
  CHECK_THROWS_WITH(team.run(2, body, idle), "idle");
  CHECK(other_ended);
  CHECK(idles == 1);
}

TEST_CASE("a team of fewer than one thread is refused") {
  CHECK_THROWS_AS(Team(0), std::invalid_argument);
  CHECK_THROWS_AS(Team(-3), std::invalid_argument);
}

}  // namespace gyre
