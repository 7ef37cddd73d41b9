#include "launch/run_command.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
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
#include "launch/sparsity.hpp"
#include "launch/tensors.hpp"
#include "launch/topo_command.hpp"
#include "launch/trace.hpp"
#include "launch/unsound.hpp"
#include "runtime/attention.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

/// The last call of each pass, where it is to be traced.
struct Records {
  RecordedCall forward, backward;
};

/// A local step that may take long and may fail: others hear meanwhile that this rank lives, and fail with it. Collective.
template <class Step>
void together_alive(Transport& transport, const char* stage, Step&& step) {
  transport.heartbeat().set_stage({stage});
  together(transport, [&] { while_alive(transport, step); });
}

/// Ranks of several hosts may have read different files of one name. Collective.
void agree_on_sinks(Transport& transport, const Inputs& inputs) {
  std::string logits;
  for (const float logit : inputs.sinks()) logits += (logits.empty() ? "" : " ") + format("%.9g", static_cast<double>(logit));
  if (logits.size() > 200) logits = format("hash %zx", std::hash<std::string>()(logits));
  agree(transport, {{"logits of --sinks-logits", logits}});
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
  if (attention.travels_backward() == Backward::none) return report;
  report.gradients.emplace();
  report.gradients->travels = to_string(attention.travels_backward());
  report.gradients->arriving_bytes =
      sum_over_ranks(transport, static_cast<std::uint64_t>(attention.arriving_bytes(Pass::backward)));
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

/// FLOP/s of a multiply-add loop on all ranks' teams; nothing in a replay.
double peak_beside(Transport& transport, Team& team, const Attention& attention, const RunRequest& request, LiveLine& live) {
  if (!request.replay.empty()) return 0;
  live.phase("timing a multiply-add loop");
  return measure_peak_flops(transport, team, select_kernels(attention.isa()), request.type);
}

/// Calls of one pass: run, or replayed as on a machine.
Measurement measure_pass(Transport& transport, const Attention& attention, Pass pass, const Call& call, const RunRequest& request,
                         const std::optional<Machine>& machine, double flops, LiveLine& live, RecordedCall& record) {
  std::vector<double> replay;
  if (machine) replay = attention.replay_of(*machine, pass);
  const CallPlan plan{.repetitions = request.repetitions.value_or(1),
                      .warm_up = request.repetitions.has_value(),
                      .silent_too = request.measure_overlap,
                      .ranks_share_process = request.ranks == transport.ranks(),
                      .record = request.trace_file.empty() ? nullptr : &record,
                      .live = &live,
                      .replay = replay};
  live.begin_calls(calls_of(plan), flops);
  return measure_calls(transport, call, plan, pass == Pass::backward ? "backward, " : "");
}

/// With the peak measured before and after: of the two, the one that the run could have had.
void measure(Transport& transport, Attention& attention, Tensors& tensors, Team& team, const RunRequest& request,
             const std::optional<Machine>& machine, LiveLine& live, Records& records, Report& report) {
  const double before = peak_beside(transport, team, attention, request, live);
  if (machine) {
    report.replay = machine->name;
    if (transport.rank() == 0 && request.trace_file.empty())
      report.predicted = {machine->name, attention.simulate(*machine).seconds(), ""};
  }
  const Operands operands = tensors.operands(report.problem);
  const auto forward = [&](const CallOptions& options) { return attention.forward(operands, options); };
  report.measured = measure_pass(transport, attention, Pass::forward, forward, request, machine, report.flops() / report.ranks,
                                 live, records.forward);
  if (request.backward()) {
    const GradientOperands gradients = tensors.gradient_operands(report.problem);
    const auto backward = [&](const CallOptions& options) { return attention.backward(gradients, options); };
    report.gradients->measured = measure_pass(transport, attention, Pass::backward, backward, request, machine,
                                              report.backward_flops() / report.ranks, live, records.backward);
  }
  report.peak_flops = std::max(before, peak_beside(transport, team, attention, request, live));
}

/// Seconds of a forward call under the mask that is chosen from. Its rows and its arena are gone afterwards.
double time_dense(Transport& transport, const Inputs& inputs, const Problem& problem, const Options& options,
                  const RunRequest& request, const std::optional<Machine>& machine, LiveLine& live) {
  Attention attention(transport, problem, options);
  Team team(options.threads);
  std::optional<Tensors> tensors;
  together_within_memory(transport, "reading", [&] { tensors.emplace(inputs, problem, attention, team, false); });
  const Operands operands = tensors->operands(problem);
  RunRequest untraced = request;
  untraced.trace_file.clear(), untraced.measure_overlap = false;
  Records records;
  const auto forward = [&](const CallOptions& call) { return attention.forward(operands, call); };
  return measure_pass(transport, attention, Pass::forward, forward, untraced, machine, 0, live, records.forward).seconds;
}

/// Collective; problem.mask becomes what its heads choose of it. Nothing where nothing is to be chosen.
std::optional<Sparsity> choose_pairs(Transport& transport, const Inputs& inputs, const RunRequest& request,
                                     const std::vector<SparseChoice>& choices, const Options& options,
                                     const std::optional<Machine>& machine, LiveLine& live, Problem& problem) {
  if (choices.empty()) return std::nullopt;
  std::optional<double> dense_seconds;
  if (request.against_dense) {
    together(transport, [&] { require_choices(problem, choices); });
    dense_seconds = time_dense(transport, inputs, problem, options, request, machine, live);
  }
  live.phase("estimating");
  Sparsity sparsity = choose_mask(transport, inputs, request, choices, options.threads, problem);
  sparsity.dense_seconds = dense_seconds;
  return sparsity;
}

/// Of the rows that --recall picks. Collective.
void find_recall(Transport& transport, const Attention& attention, const Operands& operands, Team& team, const RunRequest& request,
                 Report& report) {
  if (!report.sparsity) return;
  Problem whole = report.problem;
  whole.mask = report.sparsity->whole;
  if (transport.rank() == 0) report.sparsity->whole_pairs = whole.visible_pairs();
  if (request.recall_rows == 0) return;
  const EstimateRows rows{
      .queries = operands.queries, .keys = operands.keys, .query_rows = attention.query_rows(), .key_rows = attention.key_rows()};
  report.sparsity->recall = measure_recall(transport, team, select_kernels(attention.isa()), whole, report.problem.mask, rows,
                                           sample_tokens(whole.query_tokens, request.recall_rows, request.seed));
}

void check(Transport& transport, const Problem& problem, const Attention& attention, const Operands& operands,
           const GradientOperands& gradients, Team& team, const RunRequest& request, Report& report) {
  if (request.check_rows == 0) return;
  report.check = check_rows(transport, team, problem, attention.query_rows(), attention.key_rows(), operands,
                            sample_tokens(problem.query_tokens, request.check_rows, request.seed));
  if (!request.backward()) return;
  report.gradient_check = check_gradients(transport, team, problem, attention.query_rows(), attention.key_rows(), gradients,
                                          sample_tokens(problem.query_tokens, request.check_rows, request.seed),
                                          sample_tokens(problem.key_tokens, request.check_rows, request.seed));
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
PredictedCall predict(Transport& transport, const Attention& attention, Pass pass, const Machine& machine) {
  PredictedCall predicted;
  together_alive(transport, "predicting", [&] {
    if (transport.rank() == 0) predicted = predict_call(attention.schedule(pass), attention.layout(), transport.nodes(), machine);
  });
  return predicted;
}

/// Writes the last calls, and what was predicted of them; the report gets the latter.
void trace(Transport& transport, const Attention& attention, const Topology& topology, const Options& options,
           const std::optional<Machine>& replayed, const Records& records, Outputs& outputs, Report& report) {
  const Machine machine = replayed ? *replayed : options.machine.with_threads(options.threads);
  const bool both = attention.travels_backward() != Backward::none;
  const PredictedCall forward = predict(transport, attention, Pass::forward, machine);
  const PredictedCall backward = both ? predict(transport, attention, Pass::backward, machine) : PredictedCall{};
  TraceOfRank traced{.layout = attention.layout(),
                     .label = format("node %d, %s", topology.node_of_rank[static_cast<std::size_t>(transport.rank())],
                                     plural(options.threads, "thread").c_str()),
                     .calls = {}};
  const auto add = [&](Pass pass, const RecordedCall& record, const PredictedCall& predicted) {
    traced.calls.push_back({.program = attention.program(pass),
                            .events = record.timeline.events(),
                            .began_seconds = record.began_seconds,
                            .predicted = transport.rank() == 0 ? &predicted : nullptr});
  };
  add(Pass::forward, records.forward, forward);
  if (both) add(Pass::backward, records.backward, backward);
  write_trace(transport, outputs.trace(), traced);
  report.predicted = {forward.machine, forward.seconds, forward.left_out};
}

/// On rank 0. Returns the exit status.
int tell(const Report& report, Printed printed, Outputs& outputs) {
  outputs.write_report(to_json(report));
  print(printed == Printed::json ? to_json(report) : to_text(report));
  const std::string outputs_wrong = report.check ? report.check->failure : "";
  const std::string& wrong = outputs_wrong.empty() && report.gradient_check ? report.gradient_check->failure : outputs_wrong;
  if (wrong.empty()) return kSuccess;
  std::fprintf(stderr, "gyre: check failed: %s\n", wrong.c_str());
  return kCheckFailed;
}

}  // namespace

int run_command(Transport& transport, const RunRequest& request) {
  transport.heartbeat().set_deadline(request.options.deadline_seconds);
  agree(transport, request.given);
  std::optional<Inputs> inputs;
  std::optional<Machine> machine;
  Problem problem;
  std::vector<SparseChoice> choices;
  together_alive(transport, "opening files", [&] {
    inputs.emplace(request);
    problem = inputs->problem(request);
    if (!request.sparse.empty()) choices = read_sparse_choices(request.sparse);
    if (request.replay.empty()) return;
    machine = request.replay == "default" ? default_machine() : read_machine(request.replay);
    machine = machine->with_instruction_set(request.options.isa);
  });
  agree_on_sinks(transport, *inputs);
  const Topology topology = discover_topology(transport);
  Options options = request.options;
  options.threads = request.threads.value_or(topology.default_threads());
  const std::vector<int> threads = gather_threads(transport, options.threads);
  require_few_threads(topology.places, threads);
  Outputs outputs(transport, request, problem);
  LiveLine live(live_descriptor(transport, request.live));
  std::optional<Sparsity> sparsity = choose_pairs(transport, *inputs, request, choices, options, machine, live, problem);
  Attention attention(transport, problem, options);

  live.phase("reading");
  std::optional<Team> team;
  std::optional<Tensors> tensors;
  together_within_memory(transport, "reading", [&] {
    team.emplace(options.threads);
    tensors.emplace(*inputs, problem, attention, *team, request.backward());
  });
  live.erase();
  if (transport.rank() == 0)
    warn_of_launch(topology, threads, request.options.deadline_seconds);  // now that nothing can be refused any more
  const Operands operands = tensors->operands(problem);
  transport.heartbeat().set_stage({"measuring"});
  Report report = describe(transport, problem, attention, topology, options.threads);
  report.sparsity = std::move(sparsity);
  Records records;
  measure(transport, attention, *tensors, *team, request, machine, live, records, report);
  if (!machine && !sound(transport, problem, attention, *tensors, *team, live)) return kCheckFailed;
  live.phase(request.check_rows > 0 ? "checking" : "writing");
  transport.heartbeat().set_stage({"checking"});
  find_recall(transport, attention, operands, *team, request, report);
  check(transport, problem, attention, operands, tensors->gradient_operands(problem), *team, request, report);
  report.peak_memory_bytes = most_resident_bytes(transport);

  together_alive(transport, "writing", [&] {
    outputs.write(attention.query_rows(), tensors->out.data(), tensors->lse.data());
    outputs.write_gradients(attention.query_rows(), attention.key_rows(), tensors->grad_queries.data(), tensors->grad_keys.data(),
                            tensors->grad_values.data());
    outputs.write_sink_gradients(tensors->grad_sinks.data());
  });
  live.erase();
  int status = kSuccess;
  together_alive(transport, "publishing", [&] {
    if (transport.rank() == 0) outputs.publish();
  });
  if (!request.trace_file.empty()) trace(transport, attention, topology, options, machine, records, outputs, report);
  together_alive(transport, "reporting", [&] {
    if (transport.rank() == 0) status = tell(report, request.printed, outputs);
  });
  transport.broadcast(std::as_writable_bytes(std::span(&status, 1)), 0);
  return status;
}

}  // namespace gyre
