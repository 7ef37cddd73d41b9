// Predicted times against what can be worked out by hand, and against what no schedule can beat.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/borrowing.hpp"
#include "runtime/schedules/schedules.hpp"
#include "runtime/simulate.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"
#include "support/programs.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

/// Nothing costs anything but arithmetic, at 1 GFLOP/s, and bytes between nodes, at 1 GB/s.
Machine bare_machine() {
  constexpr double kFree = 1e20;
  Machine machine;
  machine.kernels = {.flops_per_second = {1e9, 1e9, 1e9},
                     .attend_seconds = 0,
                     .row_unit_seconds = 0,
                     .memory_bytes_per_second = kFree,
                     .packing_bytes_per_second = kFree};
  machine.node.bytes_per_second = kFree;
  machine.network.bytes_per_second = machine.link_bytes_per_second = 1e9;
  return machine;
}

Simulation run(const Layout& layout, StrategyChoice strategy, std::span<const int> nodes, const Machine& machine,
               const Options& options = {}) {
  PairCounts counts(layout);
  return simulate(make_schedule(resolve(strategy, nodes), layout, options), nodes, machine, counts);
}

Options prefetching(int stages) {
  Options options;
  options.prefetch = stages;
  return options;
}

double attend_seconds(const Layout& layout) {  // of all ranks, at 1 GFLOP/s
  return layout.problem.visible_pairs() * 2 * (layout.problem.head_dim + layout.problem.value_dim) / 1e9;
}

/// The owner packs `first` again once that loan has ended, and then attends three tiles; the borrower attends first, gives it back,
/// attends second for two tiles and gives that back.
Program two_loans(const Layout& layout, int rank) {
  const auto queries = runs_of_units(layout.query_units_of(rank), 1), keys = runs_of_units(layout.key_units_of(0), 1);
  const auto key_bytes = layout.run_bytes(Role::key_value, keys);
  ProgramBuilder builder(rank);
  const SlotId user = builder.user_slot(true);
  const SlotId query = builder.arena_slot(Role::query, layout.run_bytes(Role::query, queries));
  const SlotId partial = builder.arena_slot(Role::partial, layout.run_bytes(Role::partial, queries));
  const SlotId first = builder.arena_slot(Role::key_value, key_bytes), second = builder.arena_slot(Role::key_value, key_bytes);
  const auto pack = [&](SlotId slot) {
    builder.add({.function = Function::pack_key_value, .out = slot, .in = {user, user}}, keys);
  };
  const auto attend = [&](SlotId slot) { builder.add({.op = Op::attend, .out = partial, .in = {query, slot}}, keys); };
  builder.add({.function = Function::pack_query, .out = query, .in = {user, kNoSlot}}, queries);
  builder.add({.function = Function::clear, .out = partial}, queries);
  if (rank == 0) {
    pack(first), pack(second);
    for (const SlotId lent : {first, second}) builder.add({.op = Op::expose, .in = {lent, kNoSlot}, .peer = 1}, keys);
    pack(first);
    for (int tile = 0; tile < 3; ++tile) attend(first);
  } else {
    for (const SlotId borrowed : {first, second}) builder.add({.op = Op::borrow, .out = borrowed, .peer = 0}, keys);
    attend(first);
    builder.add({.op = Op::release, .out = first, .peer = 0});
    attend(second), attend(second);
    builder.add({.op = Op::release, .out = second, .peer = 0});
  }
  return std::move(builder).take();
}

/// Rank 0 sends its keys, rank 1 attends them and has nothing to do meanwhile.
Program keys_from_0_to_1(const Layout& layout, int rank) {
  const auto queries = runs_of_units(layout.query_units_of(1), 1), keys = runs_of_units(layout.key_units_of(0), 1);
  ProgramBuilder builder(rank);
  const SlotId user = builder.user_slot(true);
  const SlotId query = builder.arena_slot(Role::query, layout.run_bytes(Role::query, queries));
  const SlotId partial = builder.arena_slot(Role::partial, layout.run_bytes(Role::partial, queries));
  const SlotId key = builder.arena_slot(Role::key_value, layout.run_bytes(Role::key_value, keys));
  if (rank == 0) {
    builder.add({.function = Function::pack_key_value, .out = key, .in = {user, user}}, keys);
    builder.add({.op = Op::send, .in = {key, kNoSlot}, .peer = 1}, keys);
  } else {
    builder.add({.function = Function::pack_query, .out = query, .in = {user, kNoSlot}}, queries);
    builder.add({.function = Function::clear, .out = partial}, queries);
    builder.add({.op = Op::receive, .out = key, .peer = 0}, keys);
    builder.add({.op = Op::attend, .out = partial, .in = {query, key}}, keys);
  }
  return std::move(builder).take();
}

}  // namespace

TEST_CASE("a ring of two ranks takes its attends, or the wire and the last of them") {
  const Layout layout(self_attention(1024), {}, 2);
  const double tile = attend_seconds(layout) / 4;
  const auto nodes = nodes_of(2, 1);
  Machine machine = bare_machine();
  CHECK(run(layout, Strategy::ring, nodes, machine).seconds() == Approx(2 * tile));

  const auto bytes = layout.run_bytes(Role::key_value, runs_of_units(layout.key_units_of(0), 1));
  machine.network.bytes_per_second = static_cast<double>(bytes) / (3 * tile);
  machine.network.latency_seconds = tile / 4;
  const Simulation slow = run(layout, Strategy::ring, nodes, machine);
  CHECK(slow.seconds() == Approx(3.25 * tile + tile));
  CHECK(slow.exposed_communication_seconds() == Approx(2.25 * tile));
  CHECK(slow.ranks[1].waiting_seconds == Approx(2.25 * tile));
  CHECK(slow.ranks[0].bytes_sent == bytes);
  CHECK(slow.ranks[0].bytes_between_nodes == bytes);
}

TEST_CASE("flows share a node's links equally, and links in one direction are not those of the other") {
  const Layout layout(self_attention(4096), {}, 4);
  Machine machine = bare_machine();
  machine.kernels.flops_per_second.fill(1e20);
  machine.network.bytes_per_second = machine.link_bytes_per_second = 1e6;
  const auto bytes = static_cast<double>(layout.run_bytes(Role::key_value, runs_of_units(layout.key_units_of(0), 1)));
  // Each rank fetches from both ranks of the other node: four shares pass each node's link in each direction.
  const auto nodes = nodes_of(4, 2);
  CHECK(run(layout, Strategy::all_gather, nodes, machine, prefetching(4)).seconds() == Approx(4 * bytes / 1e6));
  machine.links_per_node = 2;
  CHECK(run(layout, Strategy::all_gather, nodes, machine, prefetching(4)).seconds() == Approx(2 * bytes / 1e6));
  machine.links_per_node = 8;  // now the ports of the ranks are what is narrow
  CHECK(run(layout, Strategy::all_gather, nodes, machine, prefetching(4)).seconds() == Approx(2 * bytes / 1e6));
}

TEST_CASE("half of the cells each way gain nothing where a port carries one flow as fast as two") {
  const Layout layout(self_attention(8192), {}, 8);
  Machine machine = bare_machine();
  machine.kernels.flops_per_second.fill(1e20);
  const auto nodes = nodes_of(8, 1);
  const double one = run(layout, Strategy::ring, nodes, machine).seconds();
  const auto share = layout.run_bytes(Role::key_value, runs_of_units(layout.key_units_of(0), 1));
  CHECK(one == Approx(7 * static_cast<double>(share) / 1e9));
  CHECK(run(layout, Strategy::bidirectional_ring, nodes, machine).seconds() == Approx(one));
}

TEST_CASE("what transfers take of a processor prolongs computing, and costs nothing while it waits") {
  const Layout layout(self_attention(1024), {}, 2);
  const double tile = attend_seconds(layout) / 4;
  const auto nodes = nodes_of(2, 1);
  Machine machine = bare_machine();
  const auto bytes = static_cast<double>(layout.run_bytes(Role::key_value, runs_of_units(layout.key_units_of(0), 1)));
  machine.network.processor_bytes_per_second = bytes / (tile / 2);
  machine.network.bytes_per_second = bytes / (tile / 4);  // arrives beside the first attend
  CHECK(run(layout, Strategy::ring, nodes, machine).seconds() == Approx(2.5 * tile));
  machine.network.bytes_per_second = bytes / (1.1 * tile);  // just after it
  CHECK(run(layout, Strategy::ring, nodes, machine).seconds() == Approx(2.1 * tile));
  machine.network.bytes_per_second = bytes / (3 * tile);  // arrives while it waits
  CHECK(run(layout, Strategy::ring, nodes, machine).seconds() == Approx(4 * tile));
}

TEST_CASE("what a rank owes for posting when it begins to wait is paid while it waits") {
  const Layout layout(self_attention(1024), {}, 2);
  const double tile = attend_seconds(layout) / 4;
  const auto bytes = static_cast<double>(layout.run_bytes(Role::key_value, runs_of_units(layout.key_units_of(0), 1)));
  const auto schedule = [&](int rank) { return keys_from_0_to_1(layout, rank); };
  const auto nodes = nodes_of(2, 1);
  Machine machine = bare_machine();
  machine.network.bytes_per_second = bytes / (3 * tile);
  PairCounts counts(layout);
  for (const double owed : {0.0, tile, 2 * tile}) {
    machine.network.message_seconds = owed;
    CHECK(simulate(schedule, nodes, machine, counts).seconds() == Approx(4 * tile));
  }
  machine.network.message_seconds = 5 * tile;  // two of them are still to be paid when the keys have come
  CHECK(simulate(schedule, nodes, machine, counts).seconds() == Approx((3 + 2 + 1) * tile));
}

TEST_CASE("inside a node loans cost their flags alone, and nothing is sent") {
  const Layout layout(self_attention(4096, "causal"), {}, 4);
  Machine machine = bare_machine();
  machine.loan_seconds = 1e-9;
  const std::vector<int> nodes(4, 0);
  PairCounts counts(layout);
  const auto schedule = borrow_inside_nodes(make_schedule(Strategy::ring, layout, {}), layout, nodes);
  const Simulation simulation = simulate(schedule, nodes, machine, counts);
  double busiest = 0;
  for (const SimulatedRank& rank : simulation.ranks) {
    CHECK(rank.bytes_sent == 0);
    busiest = std::max(busiest, rank.computing_seconds);
  }
  CHECK(simulation.seconds() == Approx(busiest).epsilon(1e-4));
}

TEST_CASE("a loan that was made first ends first, and what lay there is packed again as soon as it has") {
  const Layout layout(self_attention(1024), {}, 2);
  const double tile = attend_seconds(layout) / 4;
  const std::vector<int> nodes(2, 0);
  PairCounts counts(layout);
  const Simulation all = simulate([&](int rank) { return two_loans(layout, rank); }, nodes, bare_machine(), counts);
  CHECK(all.ranks[1].seconds == Approx(3 * tile));
  CHECK(all.ranks[0].waiting_seconds == Approx(tile));
  CHECK(all.ranks[0].seconds == Approx(4 * tile));
}

TEST_CASE("what a watcher is told adds up to what the simulation says") {
  Machine machine = bare_machine();
  machine.network.latency_seconds = 1e-5;
  machine.kernels.packing_bytes_per_second = 1e9;
  machine.loan_seconds = 0;
  const Layout layout(self_attention(2048, "causal", 4), prefetching(1), 8);
  const std::vector<int> nodes = nodes_of(8, 2);
  for (const StrategyChoice strategy : {StrategyChoice(Strategy::ring), StrategyChoice(Strategy::all_gather),
                                        StrategyChoice(Strategy::ulysses), StrategyChoice(Strategy::tree)}) {
    CAPTURE(to_string(strategy));
    using Kind = TimelineEvent::Kind;
    std::vector<double> reached(8, 0.0), computed(8, 0.0), waited(8, 0.0);
    std::vector<std::int64_t> transfers(8, 0), flows(8, 0);
    PairCounts counts(layout);
    const Schedule schedule = borrow_inside_nodes(make_schedule(resolve(strategy, nodes), layout, Options()), layout, nodes);
    const Simulation all = simulate(schedule, nodes, machine, counts, [&](int rank, const TimelineEvent& event) {
      REQUIRE(event.end_seconds >= event.begin_seconds);
      if (event.kind == Kind::transfer) ++transfers[rank];
      if (event.kind == Kind::flow) ++flows[rank];
      if (event.kind == Kind::flow || event.kind == Kind::transfer) return;
      REQUIRE(std::abs(event.begin_seconds - reached[rank]) < 1e-12);  // a rank computes or waits, without a gap
      reached[rank] = event.end_seconds;
      (event.kind == Kind::wait ? waited : computed)[rank] += event.end_seconds - event.begin_seconds;
    });
    for (int rank = 0; rank < 8; ++rank) {
      const SimulatedRank& its = all.ranks[rank];
      CHECK(std::abs(reached[rank] - its.seconds) < 1e-9);
      CHECK(std::abs(waited[rank] - its.waiting_seconds) < 1e-9);
      CHECK(std::abs(computed[rank] - its.computing_seconds - its.packing_seconds) < 1e-9);
      const Program program = schedule(rank);
      const auto count = [&](std::initializer_list<Op> ops) {
        return std::count_if(program.instructions.begin(), program.instructions.end(),
                             [&](const Instruction& one) { return std::find(ops.begin(), ops.end(), one.op) != ops.end(); });
      };
      CHECK(flows[rank] == count({Op::receive}));
      CHECK(transfers[rank] == count({Op::send, Op::receive, Op::expose, Op::borrow}));
    }
  }
}

TEST_CASE("every strategy pays for every visible pair once, for what its programs send, and never beats compute or wire") {
  Random random(21);
  for (int round = 0; round < 150; ++round) {
    const int ranks = static_cast<int>(draw(random, 1, 9)), per_node = static_cast<int>(draw(random, 1, 4));
    const Job job = random_job(random, ranks);
    const StrategyChoice strategy = resolve(random_strategy(random, ranks), nodes_of(ranks, per_node));
    const auto nodes = nodes_of(ranks, per_node);
    INFO(job.text << ", " << to_string(strategy) << ", " << ranks << " ranks, " << per_node << " a node");
    const Layout layout(job.problem, job.options, ranks);
    Machine machine = bare_machine();
    machine.network.latency_seconds = 1e-6, machine.network.message_seconds = 1e-7;
    PairCounts counts(layout);
    Schedule schedule = make_schedule(strategy, layout, job.options);
    if (round % 2 == 1) schedule = borrow_inside_nodes(schedule, layout, nodes);
    const Simulation simulation = simulate(schedule, nodes, machine, counts);

    double computing = 0;
    std::int64_t arriving = 0, moved = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const SimulatedRank& its = simulation.ranks[rank];
      computing += its.computing_seconds;
      arriving += arriving_bytes(schedule(rank), layout);
      moved += its.bytes_sent + its.bytes_borrowed;
      const double busy = its.computing_seconds + its.packing_seconds;
      CHECK(its.seconds >= busy * (1 - 1e-9));
      CHECK(its.seconds >= static_cast<double>(its.bytes_between_nodes) / 1e9 * (1 - 1e-9));
      CHECK(its.seconds >= busy + its.waiting_seconds - 1e-9);
    }
    // Where heads see different keys, a tile counts with the mean of all heads.
    if (layout.bands().heads() == 1) CHECK(computing == Approx(attend_seconds(layout)).margin(1e-15));
    CHECK(moved == arriving);
    CHECK(run(layout, strategy, nodes, machine, job.options).seconds() ==
          run(layout, strategy, nodes, machine, job.options).seconds());
  }
}
