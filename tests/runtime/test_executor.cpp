// Backward programs of one rank, made by hand: what the executor does by the roles of slots.
#include <functional>
#include <utility>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "kernels/pages.hpp"
#include "kernels/reference.hpp"
#include "runtime/executor.hpp"
#include "support/catch.hpp"
#include "support/count_allocations.hpp"
#include "support/gradients.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

/// What becomes of the gradients that were attended: finished as they are, or settled, and the shares finished; or added to cleared
/// gradients first.
enum class Way : std::uint8_t { finished, shares_finished, shares_combined };

struct GradientSlots {
  SlotId gradient, share, other;
};

/// Every cell of one rank attended at once, in two instructions of half of the key units each.
Program one_rank_backward(const Layout& layout, Way way) {
  const int heads = layout.problem.key_heads;
  const auto queries = runs_of_units(layout.query_units_of(0), heads), keys = runs_of_units(layout.key_units_of(0), heads);
  ProgramBuilder builder(0, Pass::backward);
  const auto slot = [&](Role role) { return builder.arena_slot(role, layout.run_bytes(role, of_keys(role) ? keys : queries)); };
  const auto slots = [&](Role gradient, Role share) { return GradientSlots{slot(gradient), slot(share), slot(gradient)}; };
  const SlotId input = builder.user_slot(true), output = builder.user_slot(false);
  const SlotId asked = slot(Role::backward_query), own = slot(Role::key_value);
  const GradientSlots of_queries = slots(Role::grad_query, Role::grad_query_share);
  const GradientSlots of_keys = slots(Role::grad_key_value, Role::grad_key_value_share);
  builder.add({.function = Function::pack_query, .out = asked, .in = {input, kNoSlot}}, queries);
  builder.add({.function = Function::pack_key_value, .out = own, .in = {input, kNoSlot}}, keys);
  builder.add({.function = Function::clear, .out = of_queries.gradient}, queries);
  builder.add({.function = Function::clear, .out = of_keys.gradient}, keys);
  const std::vector<int> units = layout.key_units_of(0);
  const auto half = std::ssize(units) / 2;
  for (const auto& part : {std::vector<int>(units.begin(), units.begin() + half), {units.begin() + half, units.end()}}) {
    builder.add({.op = Op::attend_backward, .out = of_queries.gradient, .also_out = of_keys.gradient, .in = {asked, own}},
                runs_of_units(part, heads));
  }
  for (const auto& [of, runs] : {std::pair(of_queries, queries), std::pair(of_keys, keys)}) {
    if (way != Way::finished) builder.add({.function = Function::settle, .out = of.share, .in = {of.gradient, kNoSlot}}, runs);
    if (way == Way::shares_combined) {
      builder.add({.function = Function::clear, .out = of.other}, runs);
      builder.add({.op = Op::combine, .out = of.other, .in = {of.share, kNoSlot}}, runs);
    }
    const SlotId last = way == Way::finished ? of.gradient : way == Way::shares_finished ? of.share : of.other;
    builder.add({.function = Function::finish, .out = output, .in = {last, kNoSlot}}, runs);
  }
  return std::move(builder).take();
}

/// Two calls of a hand-made program after a forward call; returns what they allocated.
std::uint64_t run(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, Way way, Gradients& gradients,
                  Timeline& timeline, double& share_done) {
  std::uint64_t allocated = 1;
  run_loopback(1, [&](Transport& transport) {
    const GradientRows rows(job, tensors, grad_out, transport);
    Attention(transport, job.problem, job.options).forward(rows.forward());
    const Layout layout(job.problem, job.options, 1);
    const Program program = one_rank_backward(layout, way);
    Team team(job.options.threads);
    Executor executor(program, layout, transport, team, select_kernels(),
                      {.arena = allocate_cells(program.arena_bytes), .window = {}});
    const std::function<void(const Progress&)> progress = [&](const Progress& now) { share_done = now.share_done; };
    executor.run(rows.backward(), {.timeline = &timeline, .progress = &progress});
    rows.forget();
    const GradientOperands operands = rows.backward();
    const std::uint64_t before = allocations_of_this_thread();
    executor.run(operands);
    allocated = allocations_of_this_thread() - before;
    rows.write_to(gradients);
  });
  return allocated;
}

}  // namespace

TEST_CASE("a backward program of one rank gives the reference's gradients, finished as they are, as shares, or from added shares") {
  Random random(41);
  for (int round = 0; round < 30; ++round) {
    Job job = random_job(random);
    job.problem.sinks = SinkLogits::none;  // their gradients are no program's
    INFO("round " << round << ": " << job.text);
    const Tensors tensors = random_tensors(job.problem, random(), 1.5);
    const std::vector<float> grad_out = random_grad_out(job.problem, random(), 1.5);
    Gradients first(job.problem);
    for (const Way way : {Way::finished, Way::shares_finished, Way::shares_combined}) {
      Gradients gradients(job.problem);
      Timeline timeline;
      double share_done = 0;
      CHECK(run(job, tensors, grad_out, way, gradients, timeline, share_done) == 0);
      CHECK(share_done >= 0);
      CHECK(share_done <= 1);
      std::size_t computed = 0;
      for (const TimelineEvent& event : timeline.events()) computed += event.kind == TimelineEvent::Kind::compute ? 1 : 0;
      CHECK(computed == (way == Way::finished ? 8 : way == Way::shares_finished ? 10 : 14));
      if (way == Way::finished) {
        first = gradients;
        CHECK(compare(job.problem, tensors, grad_out, gradients).share_of_bound <= 1);
      }
      CHECK(gradients == first);
    }
  }
}

TEST_CASE("a program of one pass refuses the operands of the other") {
  Random random(42);
  const Job job = random_job(random);
  const Tensors tensors = random_tensors(job.problem, 1, 1.5);
  run_loopback(1, [&](Transport& transport) {
    const GradientRows rows(job, tensors, random_grad_out(job.problem, 1, 1.5), transport);
    const Layout layout(job.problem, job.options, 1);
    const Program program = one_rank_backward(layout, Way::finished);
    Team team(job.options.threads);
    Executor executor(program, layout, transport, team, select_kernels(),
                      {.arena = allocate_cells(program.arena_bytes), .window = {}});
    CHECK_THROWS_AS(executor.run(rows.forward()), std::logic_error);
  });
}
