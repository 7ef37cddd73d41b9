#include "launch/plan_command.hpp"

#include <boost/program_options.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "launch/draw_program.hpp"
#include "launch/given.hpp"
#include "launch/position_options.hpp"
#include "launch/run_command.hpp"
#include "launch/run_options.hpp"
#include "runtime/choose.hpp"
#include "runtime/io/whole_file.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

constexpr int kMostRanks = 1 << 20;
constexpr std::size_t kRows = 16;  // of the page

po::options_description describe_options() {
  po::options_description options("Options of gyre plan");
  const auto option = [&](const char* name, const char* value, const std::string& text) {
    options.add_options()(name, po::value<std::string>()->value_name(value), text.c_str());
  };
  option("ranks", "P", "ranks of the job, " + limits_text(1, kMostRanks));
  option("ranks-per-node", "R", "ranks of a node (1)");
  option("tokens", "N", "queries, and as many keys, " + limits_text(1, static_cast<double>(kMostTokens)));
  option("heads", "H", "query heads, " + limits_text(1, kMostHeads) + " (8)");
  option("kv-heads", "G", "key/value heads, a divisor of them (as many)");
  option("head-dim", "D", limits_text(1, kLargestDim) + " (64)");
  option("value-dim", "D", "(head dim)");
  option("mask", "EXPR", "as of gyre run (full)");
  option("dual-chunk", "CHUNK,LOCAL[,ORIGINAL]", "as of gyre run: queries are three times as large, and units end where chunks do");
  option("dtype", "TYPE", "f32 (default), bf16 or f16");
  option("strategy", "NAME", "this one alone, as of gyre run (auto: every one)");
  option("partition", "NAME", "this placement alone, as of gyre run, but for layouts of files (auto: every one)");
  option("threads", "N", "compute threads of a rank, where the machine's figures are of one (1)");
  option("isa", "NAME", "instruction set, where the machine file has rates of several (the first)");
  option("prefetch", "N", "as of gyre run (1)");
  option("backward", "WHAT",
         "of a forward and a backward call together, while keys or queries travel with their gradients, or auto");
  option("machine", "FILE", "JSON: kernels and links; launch/machines has some (the one there called zen4-vm)");
  option("json", "FILE", "all predictions, best first; -: on standard output, instead of the page");
  option("draw", "FILE.svg", "a picture of the best: whose keys every rank attends, when, and what is on the wire");
  options.add_options()("help", "this text");
  return options;
}

Type type_named(const std::string& text) {
  for (const Type type : {Type::f32, Type::bf16, Type::f16})
    if (text == to_string(type)) return type;
  refuse("--dtype is '" + text + "'; use f32, bf16 or f16");
}

template <class Integer>
Integer required(const Given& given, const char* name, Integer least, Integer most) {
  if (!given.has(name)) refuse(std::string("--") + name + " is missing; gyre plan needs --ranks and --tokens");
  return *given.integer(name, least, most);
}

/// The machine as its file has it, or with the rates of one instruction set.
Machine machine_of(const Given& given) {
  Machine machine = given.has("machine") ? read_machine(given.text("machine")) : default_machine();
  if (!given.has("isa")) return machine;
  std::string known, last;  // sets stand together, as gyre calibrate writes them
  for (const KernelRate& rate : machine.kernels.rates) {
    if (rate.isa == given.text("isa")) return machine.with_instruction_set(rate.isa);
    if (rate.isa != last && known.size() < 60) known.append(known.empty() ? "" : ", ").append(rate.isa);
    last = rate.isa;
  }
  refuse("--isa is '" + given.text("isa") + "'; the machine has rates of " + (known.empty() ? "none by name: remove it" : known));
}

constexpr int kMostSecondLooks = 6;  // a second or two each

std::vector<int> nodes_of(const PlanRequest& request) {
  std::vector<int> nodes(request.ranks);
  for (int rank = 0; rank < request.ranks; ++rank) nodes[rank] = rank / request.ranks_per_node;
  return nodes;
}

Predictor predictor_of(const PlanRequest& request, const PartitionChoice& partition, Effort effort = {}) {
  Options options = request.options;
  options.partition = partition;
  return Predictor(request.problem, options, nodes_of(request), request.machine, effort);
}

std::vector<PartitionChoice> partitions_of(const PlanRequest& request) {
  using Kind = PartitionChoice::Kind;
  if (request.options.partition.kind != Kind::automatic) return {request.options.partition};
  std::vector<PartitionChoice> all{{Kind::contiguous}, {Kind::zigzag}, {Kind::striped}, {Kind::balanced}};
  if (!request.problem.mask.borders().empty()) all.push_back({Kind::zigzag_documents});
  return all;
}

Considered consider_all(const PlanRequest& request) {
  const StrategyChoice asked = request.options.strategy;
  Considered all;
  for (const PartitionChoice& partition : partitions_of(request)) {
    Predictor predictor = predictor_of(request, partition);
    Considered found = asked.kind == Strategy::automatic ? consider(predictor, request.machine)
                                                         : consider(predictor, request.machine, std::span(&asked, 1));
    std::move(found.best_first.begin(), found.best_first.end(), std::back_inserter(all.best_first));
    std::move(found.left_out.begin(), found.left_out.end(), std::back_inserter(all.left_out));
  }
  sort_best_first(all.best_first);
  if (request.ranks > Effort().most_whole) {
    const auto careful = [&](const PartitionChoice& partition) { return predictor_of(request, partition, kSecondLook); };
    look_again(all, request.machine, careful, kMostSecondLooks);
  }
  return all;
}

/// Why the first is best, where there was a choice.
std::string why(const PlanRequest& request, const std::vector<Prediction>& best_first) {
  return request.options.strategy.kind == Strategy::automatic ? reason(best_first) : "";
}

/// What travels backward; null in a plan of forward calls.
Json backward_json(const Prediction& prediction) {
  return prediction.backward == Backward::none ? Json(nullptr) : Json(to_string(prediction.backward));
}

std::string to_json(const PlanRequest& request, const std::vector<Prediction>& best_first) {
  Json list = Json::array();
  for (const Prediction& prediction : best_first)
    list.push_back({{"strategy", to_string(prediction.strategy)},
                    {"partition", prediction.partition.text()},
                    {"backward", backward_json(prediction)},
                    {"seconds", prediction.seconds},
                    {"exposed_communication_seconds", prediction.exposed_communication_seconds},
                    {"computing_seconds", prediction.computing_seconds},
                    {"packing_seconds", prediction.packing_seconds},
                    {"bytes_sent_per_rank", prediction.bytes_sent_per_rank},
                    {"bytes_borrowed_per_rank", prediction.bytes_borrowed_per_rank},
                    {"bytes_between_nodes", prediction.bytes_between_nodes},
                    {"messages_per_rank", prediction.messages_per_rank},
                    {"memory_bytes_per_rank", prediction.memory_bytes_per_rank},
                    {"simulated_ranks", prediction.simulated_ranks}});
  const std::string because = why(request, best_first);
  if (!because.empty()) list[0]["why"] = because;
  return list.dump(2) + "\n";
}

std::string machine_text(const PlanRequest& request) {
  return format("%s, %d a node, of %s", plural(request.ranks, "rank").c_str(), request.ranks_per_node,
                request.machine.name.substr(0, 60).c_str());
}

std::string problem_text(const Problem& problem) {
  return format("%s token%s, %s (%d key/value), head dim %d, value dim %d, %s", grouped_text(problem.key_tokens).c_str(),
                problem.key_tokens == 1 ? "" : "s", plural(problem.query_heads, "head").c_str(), problem.key_heads,
                problem.head_dim, problem.value_dim, to_string(problem.type).c_str());
}

std::string mask_text(const Problem& problem) {
  const std::string text = problem.mask.text();
  return (text.size() > 60 ? text.substr(0, 57) + "..." : text) +
         (problem.dual_chunk ? "; dual chunk (" + to_string(*problem.dual_chunk) + ")" : "");
}

std::string row(const Prediction& p) {
  const std::string strategy = to_string(p.strategy) + (p.backward == Backward::none ? "" : ", " + to_string(p.backward));
  return format("  %-28s %-16s %10s %10s %10s %10s %10s %10s\n", strategy.c_str(), p.partition.text().c_str(),
                seconds_text(p.seconds).c_str(), seconds_text(p.exposed_communication_seconds).c_str(),
                bytes_text(p.bytes_sent_per_rank).c_str(), bytes_text(p.bytes_borrowed_per_rank).c_str(),
                bytes_text(p.bytes_between_nodes).c_str(), bytes_text(p.memory_bytes_per_rank).c_str());
}

std::string to_text(const PlanRequest& request, const Considered& all, double seconds) {
  std::string text = "gyre plan: " + machine_text(request) + "\n  problem    " + problem_text(request.problem) + "\n  mask       " +
                     mask_text(request.problem) + "\n\n";
  if (all.best_first.empty()) {
    text += "  nothing fits\n";
  } else {
    const char* const strategy = request.options.backward == Backward::none ? "strategy" : "strategy, what travels back";
    text += format("  %-28s %-16s %10s %10s %10s %10s %10s %10s\n", strategy, "partition", "time", "exposed", "sent/rank",
                   "borrowed", "node-node", "memory");
    for (std::size_t index = 0; index < std::min(kRows, all.best_first.size()); ++index) text += row(all.best_first[index]);
    if (all.best_first.size() > kRows)
      text += format("  and %d more (--json has all)\n", static_cast<int>(all.best_first.size() - kRows));
    const std::string because = why(request, all.best_first);
    text += because.empty() ? "\n" : "\n" + because + "\n";
  }
  for (const std::string& left_out : all.left_out) (text += "left out: ") += left_out + "\n";
  if (!all.best_first.empty() && all.best_first.front().simulated_ranks < request.ranks)
    text += format("from jobs of at most %s, simulated\n", plural(all.best_first.front().simulated_ranks, "rank").c_str());
  return text + format("predicted in %s\n", seconds_text(seconds).c_str());
}

std::string draw_file(const Given& given) {
  constexpr std::string_view kEnding = ".svg";
  std::string file = given.text("draw");
  if (given.has("draw") && !file.ends_with(kEnding)) refuse("--draw is '" + file + "'; give a name that ends in .svg");
  if (given.has("draw") && file == given.text("json")) refuse("--draw and --json are both '" + file + "'; give each its own file");
  return file;
}

}  // namespace

std::optional<PlanRequest> parse_plan(const std::vector<std::string>& arguments, const MaskFiles& files) {
  const Given given("plan", describe_options(), arguments);
  if (given.has("help")) return std::nullopt;
  PlanRequest request;
  request.ranks = required(given, "ranks", 1, kMostRanks);
  request.ranks_per_node = given.integer("ranks-per-node", 1, request.ranks).value_or(1);
  Problem& problem = request.problem;
  problem.query_tokens = problem.key_tokens = required(given, "tokens", std::int64_t{1}, kMostTokens);
  problem.query_heads = given.integer("heads", 1, kMostHeads).value_or(8);
  problem.key_heads = given.integer("kv-heads", 1, kMostHeads).value_or(problem.query_heads);
  problem.head_dim = given.integer("head-dim", 1, kLargestDim).value_or(64);
  problem.value_dim = given.integer("value-dim", 1, kLargestDim).value_or(problem.head_dim);
  problem.type = type_named(given.text("dtype", "f32"));
  problem.mask = Mask::parse(given.text("mask", "full"), files);
  problem.dual_chunk = dual_chunk_of(given);
  if (problem.dual_chunk) problem.rotary.emplace();  // any would do: costs are the same
  problem.validate();
  if (given.has("backward")) request.options.backward = parse_backward(given.text("backward"));
  request.options.prefetch = given.integer("prefetch", 1, kMostPrefetch).value_or(1);
  request.machine = machine_of(given).with_threads(given.integer("threads", 1, kMostThreads).value_or(1));
  request.options.strategy = parse_strategy(given.text("strategy", "auto"));
  if (request.options.strategy.kind != Strategy::automatic)
    request.options.strategy = resolve(request.options.strategy, nodes_of(request));
  request.options.partition = PartitionChoice::parse(given.text("partition", "auto"));
  request.draw_file = draw_file(given);
  request.json_file = given.text("json");
  if (request.json_file == kStandardOutput) request.json_file.clear(), request.printed = Printed::json;
  return request;
}

namespace {

/// The best as a picture.
std::string picture(const PlanRequest& request, const Considered& all) {
  if (all.best_first.empty())
    refuse("--draw has nothing to draw: no strategy can be done (" + (all.left_out.empty() ? "" : all.left_out.front()) + ")");
  const Prediction& best = all.best_first.front();
  Predictor predictor = predictor_of(request, best.partition);
  const DrawnProgram drawn = drawn_program(predictor.job(best.strategy));
  PictureText text{
      .title = to_string(best.strategy) + ", " + best.partition.text() + ": " + seconds_text(best.seconds) + " predicted",
      .lines = {machine_text(request), problem_text(request.problem) + ", mask " + mask_text(request.problem)}};
  if (best.backward != Backward::none) text.lines.push_back("The forward call is drawn; the time is that of both.");
  if (std::ssize(drawn.nodes) < request.ranks)
    text.lines.push_back(format("Drawn is a job of %s like it, with as many tokens a rank, which takes ",
                                plural(std::ssize(drawn.nodes), "rank").c_str()) +
                         seconds_text(drawn.seconds));
  return draw_program(drawn, text);
}

}  // namespace

std::string plan_help() {
  std::ostringstream text;
  text << describe_options();
  return text.str();
}

int plan_command(const PlanRequest& request) {
  std::optional<WholeFile> file, drawing;
  if (!request.json_file.empty()) file.emplace(request.json_file, 0, true);
  if (!request.draw_file.empty()) drawing.emplace(request.draw_file, 0, true);
  const auto start = std::chrono::steady_clock::now();
  const Considered all = consider_all(request);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string json = to_json(request, all.best_first);
  if (drawing) drawing->write(0, picture(request, all));
  if (file) file->write(0, json);
  for (auto* whole : {&file, &drawing})
    if (*whole) (*whole)->publish();
  print(request.printed == Printed::json ? json : to_text(request, all, seconds));
  return kSuccess;
}

}  // namespace gyre
