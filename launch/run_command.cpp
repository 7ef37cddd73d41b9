#include "launch/run_command.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>
#include <stdexcept>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "comm/topology.hpp"
#include "comm/while_alive.hpp"
#include "launch/check.hpp"
#include "launch/inputs.hpp"
#include "launch/measure.hpp"
#include "launch/outputs.hpp"
#include "launch/placement_warnings.hpp"
#include "launch/print.hpp"
#include "launch/report.hpp"
#include "launch/topo_command.hpp"
#include "launch/trace.hpp"
#include "launch/unsound.hpp"
#include "runtime/attention.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

/// This rank's rows.
struct Tensors {
  LoadedRows queries, keys, values;
  std::vector<float> out, lse;

  Tensors(const Inputs& inputs, const Problem& problem, const Attention& attention, Team& team) {
    queries = inputs.read(Tensor::query, attention.query_rows(), problem.type, team);
    keys = inputs.read(Tensor::key, attention.key_rows(), problem.type, team);
    values = inputs.read(Tensor::value, attention.key_rows(), problem.type, team);
    lse.resize(static_cast<std::size_t>(queries.rows.tokens * problem.query_heads));
    out.resize(lse.size() * static_cast<std::size_t>(problem.value_dim));
  }
  Operands operands(const Problem& problem) {
    return {.queries = queries.rows,
            .keys = keys.rows,
            .values = values.rows,
            .out = {out.data(), queries.rows.tokens, problem.query_heads, problem.value_dim},
            .lse = lse.data()};
  }
};

/// A local step that may take long and may fail: others hear meanwhile that this rank lives, and fail with it. Collective.
template <class Step>
void together_alive(Transport& transport, const char* stage, Step&& step) {
  transport.heartbeat().set_stage({stage});
  together(transport, [&] { while_alive(transport, step); });
}

/// The same, with a remedy where memory is what is missing.
template <class Step>
void together_within_memory(Transport& transport, const char* stage, Step&& step) {
  together_alive(transport, stage, [&] {
    try {
      step();
    } catch (const std::bad_alloc&) {
      throw std::invalid_argument("rank " + std::to_string(transport.rank()) +
                                  " has too little memory for its rows; use more ranks on more nodes");
    }
  });
}

/// The report as it stands before anything is measured. Collective.
Report describe(Transport& transport, const Problem& problem, const Attention& attention, const Topology& topology, int threads) {
  const auto most = [&](std::int64_t bytes) {
    return static_cast<std::int64_t>(maximum_over_ranks(transport, static_cast<double>(bytes)));
  };
  Report report;
  report.problem = problem;
  report.strategy = to_string(attention.strategy());
  report.partition = attention.layout().partition.text();
  report.isa = attention.isa();
  report.why = attention.why();
  report.unshared = attention.unshared();
  report.ranks = transport.ranks();
  report.nodes = topology.nodes();
  report.threads = static_cast<int>(sum_over_ranks(transport, static_cast<std::uint64_t>(threads)));
  report.arena_bytes = most(attention.arena_bytes());
  report.scratch_bytes = most(attention.scratch_bytes());
  report.arriving_bytes = sum_over_ranks(transport, static_cast<std::uint64_t>(attention.arriving_bytes()));
  report.dense_bytes = sum_over_ranks(transport, static_cast<std::uint64_t>(attention.dense_bytes()));
  if (transport.rank() == 0) report.visible_pairs = problem.visible_pairs();
  return report;
}

std::int64_t most_resident_bytes(Transport& transport) {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(maximum_over_ranks(transport, static_cast<double>(usage.ru_maxrss) * 1024));
}

/// Where rank 0 says how far it is; nowhere on the others.
int live_descriptor(const Transport& transport, LiveWhen when) {
  const bool wanted = when == LiveWhen::always || (when == LiveWhen::on_a_terminal && ::isatty(STDERR_FILENO) == 1);
  return transport.rank() == 0 && wanted ? STDERR_FILENO : -1;
}

/// Runs, or replays as on a machine, with the peak measured before and after: of the two, the one that the run could have had.
void measure(Transport& transport, Attention& attention, const Operands& operands, Team& team, const RunRequest& request,
             const std::optional<Machine>& machine, LiveLine& live, RecordedCall& record, Report& report) {
  const KernelTable& kernels = select_kernels(attention.isa());
  const auto peak = [&]() -> double {
    if (machine) return 0;
    live.phase("timing a multiply-add loop");
    return measure_peak_flops(transport, team, kernels, request.type);
  };
  const double before = peak();
  std::vector<double> replay;
  if (machine) {
    replay = attention.replay_of(*machine);
    report.replay = machine->name;
    if (transport.rank() == 0 && request.trace_file.empty())
      report.predicted = {machine->name, attention.simulate(*machine).seconds(), ""};
  }
  const CallPlan plan{.repetitions = request.repetitions.value_or(1),
                      .warm_up = request.repetitions.has_value(),
                      .silent_too = request.measure_overlap,
                      .ranks_share_process = request.ranks == transport.ranks(),
                      .record = request.trace_file.empty() ? nullptr : &record,
                      .live = &live,
                      .replay = replay};
  live.begin_calls(calls_of(plan), report.flops() / report.ranks);
  report.measured = measure_forward(transport, attention, operands, plan);
  report.peak_flops = std::max(before, peak());
}

void check(Transport& transport, const Problem& problem, const Attention& attention, const Operands& operands, Team& team,
           const RunRequest& request, Report& report) {
  if (request.check_rows == 0) return;
  report.check = check_rows(transport, team, problem, attention.query_rows(), attention.key_rows(), operands,
                            sample_tokens(problem.query_tokens, request.check_rows, request.seed));
}

/// Whether every value is one that attention can have; if not, rank 0 says where. Collective; the same on every rank.
bool sound(Transport& transport, const Problem& problem, const Attention& attention, const Tensors& tensors, Team& team,
           LiveLine& live) {
  std::optional<Unsound> mine;
  together_alive(transport, "looking at the results",
                 [&] { mine = find_unsound(team, problem, attention.query_rows(), tensors.out.data(), tensors.lse.data()); });
  const std::optional<Unsound> first = first_of_ranks(transport, mine);
  if (!first) return true;
  live.erase();
  if (transport.rank() == 0) std::fprintf(stderr, "gyre: error: %s\n", to_text(*first).c_str());
  return false;
}

/// Of all ranks, on rank 0, now that nothing is measured any more. machine: of a replay.
PredictedCall predict(Transport& transport, const Attention& attention, const Machine& machine) {
  PredictedCall predicted;
  together_alive(transport, "predicting", [&] {
    if (transport.rank() == 0) predicted = predict_call(attention.schedule(), attention.layout(), transport.nodes(), machine);
  });
  return predicted;
}

void trace(Transport& transport, const Attention& attention, const Topology& topology, int threads, const RecordedCall& record,
           const PredictedCall& predicted, Outputs& outputs) {
  write_trace(transport, outputs.trace(),
              {.program = attention.program(),
               .layout = attention.layout(),
               .events = record.timeline.events(),
               .call_began_seconds = record.began_seconds,
               .label = format("node %d, %s", topology.node_of_rank[static_cast<std::size_t>(transport.rank())],
                               plural(threads, "thread").c_str()),
               .predicted = transport.rank() == 0 ? &predicted : nullptr});
}

/// On rank 0. Returns the exit status.
int tell(const Report& report, Printed printed, Outputs& outputs) {
  outputs.write_report(to_json(report));
  print(printed == Printed::json ? to_json(report) : to_text(report));
  if (!report.check || report.check->failure.empty()) return kSuccess;
  std::fprintf(stderr, "gyre: check failed: %s\n", report.check->failure.c_str());
  return kCheckFailed;
}

}  // namespace

int run_command(Transport& transport, const RunRequest& request) {
  transport.heartbeat().set_deadline(request.options.deadline_seconds);
  agree(transport, request.given);
  std::optional<Inputs> inputs;
  std::optional<Machine> machine;
  Problem problem;
  together_alive(transport, "opening files", [&] {
    inputs.emplace(request);
    problem = inputs->problem(request);
    if (request.replay.empty()) return;
    machine = request.replay == "default" ? default_machine() : read_machine(request.replay);
    machine = machine->with_instruction_set(request.options.isa);
  });
  const Topology topology = discover_topology(transport);
  Options options = request.options;
  options.threads = request.threads.value_or(topology.default_threads());
  const std::vector<int> threads = gather_threads(transport, options.threads);
  require_few_threads(topology.places, threads);
  Attention attention(transport, problem, options);
  Outputs outputs(transport, request, problem);

  LiveLine live(live_descriptor(transport, request.live));
  live.phase("reading");
  std::optional<Team> team;
  std::optional<Tensors> tensors;
  together_within_memory(transport, "reading", [&] {
    team.emplace(options.threads);
    tensors.emplace(*inputs, problem, attention, *team);
  });
  live.erase();
  if (transport.rank() == 0)
    warn_of_launch(topology, threads, request.options.deadline_seconds);  // now that nothing can be refused any more
  const Operands operands = tensors->operands(problem);
  transport.heartbeat().set_stage({"measuring"});
  Report report = describe(transport, problem, attention, topology, options.threads);
  RecordedCall record;
  measure(transport, attention, operands, *team, request, machine, live, record, report);
  if (!machine && !sound(transport, problem, attention, *tensors, *team, live)) return kCheckFailed;
  live.phase(request.check_rows > 0 ? "checking" : "writing");
  transport.heartbeat().set_stage({"checking"});
  check(transport, problem, attention, operands, *team, request, report);
  report.peak_memory_bytes = most_resident_bytes(transport);

  together_alive(transport, "writing", [&] { outputs.write(attention.query_rows(), tensors->out.data(), tensors->lse.data()); });
  live.erase();
  int status = kSuccess;
  together_alive(transport, "publishing", [&] {
    if (transport.rank() == 0) outputs.publish();
  });
  if (!request.trace_file.empty()) {
    const PredictedCall predicted =
        predict(transport, attention, machine ? *machine : options.machine.with_threads(options.threads));
    trace(transport, attention, topology, options.threads, record, predicted, outputs);
    report.predicted = {predicted.machine, predicted.seconds, predicted.left_out};
  }
  together_alive(transport, "reporting", [&] {
    if (transport.rank() == 0) status = tell(report, request.printed, outputs);
  });
  transport.broadcast(std::as_writable_bytes(std::span(&status, 1)), 0);
  return status;
}

}  // namespace gyre
