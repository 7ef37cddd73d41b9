// Gradients of random jobs over MPI. Every rank checks its own rows; all ranks reach every collective before any assertion.
#include "comm/faulty_transport.hpp"
#include "comm/mpi_transport.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

TEST_CASE("gradients over MPI agree with the float64 reference, over shared memory, and over messages with delays") {
  const auto transport = mpi_world_transport();
  const auto slow = faulty_transport(*transport, {.seed = static_cast<std::uint64_t>(transport->rank()) + 1, .longest_delay = 10});
  Random random(33);
  for (int round = 0; round < 20; ++round) {
    Job job = random_gradient_job(random, transport->ranks());
    INFO("round " << round << ": " << job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    Gradients prompt(job.problem), delayed(job.problem);
    run_rank(*transport, job, tensors, grad_out, prompt, 2);
    job.options.sharing = Sharing::off;
    run_rank(*slow, job, tensors, grad_out, delayed, 2);
    const Layout layout(job.problem, job.options, transport->ranks());
    const auto queries = rows_of(layout.query_units, layout.queries, transport->rank());
    const auto keys = rows_of(layout.key_units, layout.keys, transport->rank());
    CHECK(compare(job.problem, tensors, grad_out, prompt, queries, keys).share_of_bound <= 1);
    CHECK(prompt == delayed);
  }
}
