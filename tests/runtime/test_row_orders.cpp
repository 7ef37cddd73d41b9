// Rows by head and tokens in residue order, over several ranks: nobody but cells and kernels may know.
#include <array>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/schedules/schedules.hpp"
#include "support/catch.hpp"
#include "support/drawn_blocks.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

struct Ordered {
  const char* mask;
  RowOrder rows;
  std::int64_t stride;
};

const Ordered kOrdered[] = {
    {"strided(8) & causal", RowOrder::by_token, 8},
    {"(strided(6) | sinks(2)) & causal", RowOrder::by_token, 6},
    {"documents(130,170) & strided(5)", RowOrder::by_token, 5},
    {"blocks(drawn 4 6 12 30,25,10) & causal", RowOrder::by_head, 1},
    {"(columns(drawn 9 6 1 300) | window(4)) & causal", RowOrder::by_head, 1},
};

Job job_of(const Ordered& ordered, Type type) {
  Job job;
  job.problem.query_tokens = job.problem.key_tokens = 300;
  job.problem.query_heads = 6, job.problem.key_heads = 2;
  job.problem.head_dim = 12, job.problem.value_dim = 5;
  job.problem.type = type;
  job.problem.mask = Mask::parse(ordered.mask, drawn_files());
  job.options.integrity = Integrity::checked;
  job.options.unit_tokens = 50;
  return job;
}

}  // namespace

TEST_CASE("in any order of rows and tokens every strategy gives what the reference does, on 1 to 8 ranks, in every type") {
  int next = 0;
  for (const Ordered& ordered : kOrdered) {
    for (const StrategyChoice strategy : {Strategy::ring, Strategy::bidirectional_ring, Strategy::all_gather, Strategy::ulysses,
                                          Strategy::pass_query, Strategy::tree}) {
      for (const int ranks : {1, 2, 3, 4, 5, 8}) {
        Job job = job_of(ordered, std::array{Type::f32, Type::bf16, Type::f16}[next++ % 3]);
        job.options.strategy = strategy;
        job.options.partition = PartitionChoice::parse(std::array{"contiguous", "zigzag", "striped(70)", "balanced"}[next % 4]);
        if (next % 5 < 2) job.problem.rotary = Rotary{.base = 100, .dims = 6};
        if (next % 5 == 0) job.problem.dual_chunk = DualChunk{.chunk = 130, .local = 30};
        const CellShape shape = Layout(job.problem, job.options, ranks).cell_shape();
        INFO(ordered.mask << ", " << to_string(strategy) << ", " << ranks << " ranks, case " << next);
        CHECK(shape.rows == ordered.rows);
        CHECK(shape.residues.stride == ordered.stride);
        const Tensors tensors = random_tensors(job.problem, static_cast<std::uint64_t>(next), 1.5);
        CHECK(compare(job.problem, tensors, run_loopback_job(job, tensors, ranks, 2), 7).share_of_bound <= 1);
      }
    }
  }
}

TEST_CASE("in any order of rows and tokens gradients are the reference's, whatever travels") {
  int next = 0;
  for (const Ordered& ordered : kOrdered) {
    for (const Backward backward : {Backward::keys_travel, Backward::queries_travel}) {
      for (const int ranks : {1, 2, 3, 5}) {
        Job job = job_of(ordered, std::array{Type::f32, Type::bf16, Type::f16}[next++ % 3]);
        job.options.strategy = next % 2 == 0 ? Strategy::ring : Strategy::all_gather;
        job.options.backward = backward;
        if (next % 3 != 0) job.problem.rotary = Rotary{.base = 100, .dims = 6};
        if (next % 6 == 1) job.problem.dual_chunk = DualChunk{.chunk = 130, .local = 30};
        INFO(ordered.mask << ", " << to_string(backward) << ", " << ranks << " ranks, case " << next);
        const Tensors tensors = random_tensors(job.problem, static_cast<std::uint64_t>(next), 1.5);
        const std::vector<float> grad_out = random_grad_out(job.problem, static_cast<std::uint64_t>(next), 1.5);
        Gradients gradients(job.problem);
        run_loopback(
            ranks, [&](Transport& transport) { run_rank(transport, job, tensors, grad_out, gradients); }, 2);
        CHECK(compare(job.problem, tensors, grad_out, gradients).share_of_bound <= 1);
      }
    }
  }
}
