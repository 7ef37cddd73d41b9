// The same random jobs over MPI. Every rank checks its own rows; all ranks reach every collective before any assertion.
#include "comm/faulty_transport.hpp"
#include "comm/mpi_transport.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

TEST_CASE("random jobs over MPI agree with the float64 reference, over shared memory, and over messages with delays") {
  const auto transport = mpi_world_transport();
  const auto slow = faulty_transport(*transport, {.seed = static_cast<std::uint64_t>(transport->rank()) + 1, .longest_delay = 10});
  Random random(31);
  for (int round = 0; round < 40; ++round) {
    Job job = random_job(random, transport->ranks());
    INFO("round " << round << ": " << job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    Result prompt(job.problem), delayed(job.problem);
    run_rank(*transport, job, tensors, prompt, 2);
    job.options.sharing = Sharing::off;
    run_rank(*slow, job, tensors, delayed, 2);
    const Layout layout(job.problem, job.options, transport->ranks());
    const auto rows = rows_of(layout.query_units, layout.queries, transport->rank());
    const Errors errors = compare(job.problem, tensors, prompt, rows, 3);
    CHECK(errors.out < largest_normal_error(job.problem));
    CHECK(errors.lse < largest_normal_lse_error(job.problem));
    CHECK(errors.share_of_bound <= 1);
    CHECK(prompt == delayed);
  }
}
