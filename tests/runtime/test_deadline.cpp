// A call under the deadline: a lost message ends it, naming ranks and stage; slow ranks do not.
#include <chrono>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "comm/error.hpp"
#include "comm/faulty_transport.hpp"
#include "comm/heartbeat.hpp"
#include "comm/loopback_transport.hpp"
#include "runtime/attention.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

Job small_ring() {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 256;
  job.problem.mask = Mask::full();
  job.options.partition = PartitionChoice::parse("contiguous");
  job.options.strategy = Strategy::ring;
  job.options.deadline_seconds = 0.5;
  return job;
}

/// Rank 2 of four loses one of its three sends and three receives: what the ranks said that stalled.
std::vector<std::string> stalls_of(std::int64_t lost) {
  const Job job = small_ring();
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  Result result(job.problem);
  std::vector<std::string> stalls;
  std::mutex mutex;
  const auto body = [&](Transport& inner) {
    const auto transport = faulty_transport(inner, {.stall_after = inner.rank() == 2 ? lost : -1});
    try {
      run_rank(*transport, job, tensors, result);
    } catch (const Stall& error) {
      const std::lock_guard lock(mutex);
      stalls.emplace_back(error.what());
      throw;
    }
  };
  REQUIRE_THROWS_AS(run_loopback(4, body), Stall);
  return stalls;
}

void require_that_one_rank_says_what_is_lost(std::int64_t lost) {
  CAPTURE(lost);
  const std::vector<std::string> stalls = stalls_of(lost);
  REQUIRE(stalls.size() == 1);
  CAPTURE(stalls[0]);
  CHECK(std::regex_match(stalls[0], std::regex("rank [0-3] waits for rank [0-3], stage [0-3], for [0-9.]+ seconds; rank [0-3] "
                                               "answers, but nothing moves \\(deadline 0.5 seconds\\)")));
}

}  // namespace

TEST_CASE("a message that is lost in a call ends the job, and one rank alone says who waits for whom at which stage") {
  require_that_one_rank_says_what_is_lost(2);
}

TEST_CASE("whichever message of a call is lost, one rank alone says who waits for whom at which stage", "[slow]") {
  for (const std::int64_t lost : {0, 1, 3, 4, 5}) require_that_one_rank_says_what_is_lost(lost);
}

TEST_CASE("a rank that comes to a call later than the deadline, but answers, is waited for") {
  const Job job = small_ring();
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  Result result(job.problem);
  run_loopback(3, [&](Transport& transport) {
    transport.heartbeat().set_deadline(0.5);
    const auto start = std::chrono::steady_clock::now();
    while (transport.rank() == 1 && std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1000)) {
      transport.heartbeat().beat();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    run_rank(transport, job, tensors, result);
  });
  CHECK(compare(job.problem, tensors, result, 1).share_of_bound <= 1);
}

TEST_CASE("a deadline that is no duration is refused on every rank") {
  Job job = small_ring();
  for (const double seconds : {-1.0, 0.0 / 0.0, 1.0 / 0.0}) {
    job.options.deadline_seconds = seconds;
    REQUIRE_THROWS_AS(run_loopback(2, [&](Transport& transport) { Attention(transport, job.problem, job.options); }),
                      std::invalid_argument);
  }
}
