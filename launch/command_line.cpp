#include "launch/command_line.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "launch/given.hpp"
#include "launch/position_options.hpp"
#include "launch/run_options.hpp"
#include "runtime/attention.hpp"
#include "runtime/mechanism/sparse_choice.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr const char* kIntroduction =
    "Attention over sequences that no single machine could hold.\n"
    "\n"
    "  gyre run --q q.npy --k k.npy --v v.npy --out out.npy --mask causal\n"
    "  mpirun -n 4 gyre run --synthetic 65536 --mask 'window(4096) | sinks(4)' --repeat 5\n"
    "  gyre plan --ranks 64 --ranks-per-node 8 --tokens 1000000 --mask causal       which strategy, and why\n"
    "  mpirun -n 4 gyre topo       where ranks run, and how to start them well\n"
    "  mpirun -n 4 gyre calibrate --out here.json       what they compute and exchange, for --machine\n"
    "\n";

bool is_safetensors(const std::string& path) {
  return path.ends_with(".safetensors");
}

void require_one_kind_of_input(const Given& given) {
  std::string present, missing;
  for (const char* name : {"q", "k", "v"}) (given.has(name) ? present : missing) = name;
  std::vector<std::string> kinds;
  for (const char* name : {"synthetic", "input"})
    if (given.has(name)) kinds.emplace_back(name);
  if (!present.empty()) kinds.push_back(present);
  if (kinds.empty()) refuse("there is no input; give --q, --k and --v, or --input FILE, or --synthetic TOKENS");
  if (kinds.size() > 1) refuse("--" + kinds[0] + " and --" + kinds[1] + " exclude each other; remove one");
  if (!present.empty() && !missing.empty()) refuse("--" + missing + " is missing; --q, --k and --v go together");
  for (const char* name : {"q", "k", "v"})
    if (is_safetensors(given.text(name)))
      refuse(std::string("--") + name + " " + given.text(name) +
             ": .npy is read here; give one .safetensors file of q, k and v as --input");
  if (given.text("input").ends_with(".npy"))
    refuse("--input " + given.text("input") + ": .safetensors is read here; give .npy files as --q, --k and --v");
  if (given.has("synthetic")) return;
  for (const char* name : {"heads", "kv-heads", "head-dim", "value-dim"})
    if (given.has(name)) refuse(std::string("--") + name + " belongs to --synthetic; files have a shape of their own: remove it");
  if (given.has("seed") && !given.has("check")) refuse("--seed belongs to --synthetic and --check; remove it");
}

std::optional<Synthetic> synthetic_of(const Given& given) {
  const auto tokens = given.integer<std::int64_t>("synthetic", 0, kMostTokens);
  if (!tokens) return std::nullopt;
  Synthetic shape{.tokens = *tokens};
  shape.heads = given.integer("heads", 1, kMostHeads).value_or(shape.heads);
  shape.key_heads = given.integer("kv-heads", 1, kMostHeads).value_or(shape.heads);
  if (shape.heads % shape.key_heads != 0)
    refuse("--kv-heads is " + std::to_string(shape.key_heads) + " and --heads " + std::to_string(shape.heads) +
           "; make the key/value heads a divisor of the query heads");
  shape.head_dim = given.integer("head-dim", 1, kLargestDim).value_or(shape.head_dim);
  shape.value_dim = given.integer("value-dim", 1, kLargestDim).value_or(shape.head_dim);
  return shape;
}

std::string output_of(const Given& given, const std::string& name) {
  std::string path = given.text(name);
  if (!path.empty() && !path.ends_with(".npy") && !is_safetensors(path))
    refuse("--" + name + " " + path + " does not end in .npy or .safetensors; give a name that does");
  return path;
}

FileType out_type_of(const Given& given) {
  constexpr std::pair<const char*, FileType> kTypes[] = {
      {"f32", FileType::f32},     {"f16", FileType::f16},     {"bf16", FileType::bf16},     {"f64", FileType::f64},
      {"float32", FileType::f32}, {"float16", FileType::f16}, {"bfloat16", FileType::bf16}, {"float64", FileType::f64}};
  if (!given.has("out-dtype")) return FileType::f32;
  const std::string text = given.text("out-dtype"), out = given.text("out");
  const auto* const found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& type) { return type.first == text; });
  if (found == std::end(kTypes)) refuse("--out-dtype is '" + text + "'; use f32, f16, bf16 or f64");
  if (out.empty()) refuse("--out-dtype " + text + " belongs to --out, which is not given; give it, or remove --out-dtype");
  if (found->second == FileType::bf16 && !is_safetensors(out))
    refuse("--out-dtype " + text + " with --out " + out +
           ": .npy has no bfloat16; give a name in .safetensors, or f32, f16 or f64");
  return found->second;
}

Type type_of(const Given& given) {
  const std::string text = given.text("dtype", "f32");
  for (const Type type : {Type::f32, Type::bf16, Type::f16})
    if (text == to_string(type)) return type;
  refuse("--dtype is '" + text + "'; use f32, bf16 or f16");
}

/// P,SEED
std::optional<Dropout> dropout_of(const Given& given) {
  if (!given.has("dropout")) return std::nullopt;
  const std::string text = given.text("dropout");
  const char *begin = text.data(), *end = begin + text.size();
  Dropout dropout;
  auto read = std::from_chars(begin, end, dropout.probability);
  const bool probability = read.ec == std::errc{} && dropout.probability >= 0 && dropout.probability <= kLargestDropout;
  const bool comma = probability && read.ptr != end && *read.ptr == ',';
  if (comma) read = std::from_chars(read.ptr + 1, end, dropout.seed);
  if (!comma || read.ec != std::errc{} || read.ptr != end)
    refuse("--dropout is '" + text + "'; give a probability from 0 to " + number_text(kLargestDropout) +
           ", a comma and a seed, a whole number from 0 to 2^64 - 1: --dropout 0.1,7");
  return dropout;
}

/// Values of the contract that are still to come, and those that are the only ones there are.
void require_built(const Given& given) {
  const std::string device = given.text("device", "auto");
  if (device == "cuda") refuse("--device cuda is not built yet; use cpu or auto");
  if (device != "cpu" && device != "auto") refuse("--device is '" + device + "'; use cpu or auto");
}

double deadline_of(const Given& given) {
  return given.real("deadline", 0, kLongestDeadlineSeconds).value_or(kDefaultDeadlineSeconds);
}

Options options_of(const Given& given, const PartitionChoice::ReadChunks& read_chunks) {
  Options options;
  options.partition = PartitionChoice::parse(given.text("partition", "auto"), read_chunks);
  options.strategy = parse_strategy(given.text("strategy", "auto"));
  options.prefetch = given.integer("prefetch", 1, kMostPrefetch).value_or(options.prefetch);
  options.sharing = parse_sharing(given.text("shared-memory", "auto"));
  options.unit_tokens = given.integer<std::int64_t>("unit", 1, kLongestUnit).value_or(0);
  if (given.has("machine")) options.machine = read_machine(given.text("machine"));
  options.isa = given.text("isa");
  options.deadline_seconds = deadline_of(given);
  if (given.has("integrity")) options.integrity = Integrity::checked;
  if (!options.isa.empty()) select_kernels(options.isa);  // throws unless it is there
  return options;
}

/// Gradients are asked for by what they are of, or by how they are to be found.
Backward backward_of(const Given& given) {
  const bool from_file = given.has("grad-out");
  if (!from_file && given.has("backward") && !given.has("synthetic"))
    refuse("--backward needs the gradient of the output; give --grad-out FILE");
  for (const char* name : {"dq", "dk", "dv", "dsinks"})
    if (given.has(name) && !from_file && !given.has("backward"))
      refuse(std::string("--") + name + " is a gradient, and there is none of the output; give --grad-out FILE" +
             (given.has("synthetic") ? ", or --backward auto for a random one" : ""));
  if (given.has("dsinks") && !given.has("sinks-logits"))
    refuse("--dsinks is the gradient of sink logits, and there are none; give --sinks-logits FILE");
  if (from_file || given.has("backward")) return parse_backward(given.text("backward", "auto"));
  return Backward::none;
}

LiveWhen live_of(const Given& given) {
  const std::string when = given.text("live", "auto");
  if (when == "always") return LiveWhen::always;
  if (when == "never") return LiveWhen::never;
  if (when != "auto") refuse("--live is '" + when + "'; use auto, always or never");
  return LiveWhen::on_a_terminal;
}

/// The same readers, which also keep the names of what they read.
MaskFiles noting_names(const MaskFiles& files, std::vector<std::string>& names) {
  MaskFiles noting;
  if (files.lengths)
    noting.lengths = [&](const std::string& path) {
      names.push_back(path);
      return files.lengths(path);
    };
  if (files.blocks)
    noting.blocks = [&](const std::string& path, std::int64_t query_tokens, std::int64_t key_tokens) {
      names.push_back(path);
      return files.blocks(path, query_tokens, key_tokens);
    };
  if (files.rows)
    noting.rows = [&](const std::string& path, std::int64_t key_tokens) {
      names.push_back(path);
      return files.rows(path, key_tokens);
    };
  if (files.slices)
    noting.slices = [&](const std::string& path) {
      names.push_back(path);
      return files.slices(path);
    };
  return noting;
}

/// Likewise of layouts.
PartitionChoice::ReadChunks noting_names(const PartitionChoice::ReadChunks& read, std::vector<std::string>& names) {
  if (!read) return read;
  return [&](const std::string& path) {
    names.push_back(path);
    return read(path);
  };
}

/// What is only said of chosen pairs.
void read_sparsity(const Given& given, RunRequest& request) {
  request.sparse = given.text("sparse");
  for (const char* name : {"recall", "against-dense"})
    if (!given.has("sparse") && given.has(name))
      refuse("--" + std::string(name) + " looks at what --sparse chooses, and that is not given; give it, or remove --" + name);
  if (request.sparse.ends_with(".json"))
    request.mask_files.push_back(request.sparse);
  else if (given.has("sparse"))
    parse_sparse_choice(request.sparse);
  request.against_dense = given.has("against-dense");
  request.recall_rows = given.integer<std::int64_t>("recall", 1, kMostTokens).value_or(0);
}

/// Nothing is computed, so nothing that depends on it may be asked for.
std::string replay_of(const Given& given) {
  for (const char* name : {"out", "lse", "dq", "dk", "dv", "dsinks", "check", "recall"})
    if (given.has("replay") && given.has(name))
      refuse("--replay computes nothing, and --" + std::string(name) + " wants results; remove one");
  return given.text("replay");
}

RunRequest run_request(const Given& given, bool launched, const MaskFiles& files, const PartitionChoice::ReadChunks& read_chunks) {
  if (launched && given.has("ranks")) refuse("--ranks is for runs without mpirun or srun, which say it themselves; remove it");
  require_one_kind_of_input(given);
  require_built(given);
  RunRequest request;
  request.synthetic = synthetic_of(given);
  request.input_file = given.text("input");
  request.query_file = given.text("q"), request.key_file = given.text("k"), request.value_file = given.text("v");
  request.out_file = output_of(given, "out"), request.lse_file = output_of(given, "lse");
  request.grad_out_file = given.text("grad-out");
  request.grad_query_file = output_of(given, "dq"), request.grad_key_file = output_of(given, "dk");
  request.grad_value_file = output_of(given, "dv"), request.grad_sinks_file = output_of(given, "dsinks");
  request.out_type = out_type_of(given);
  if (given.text("report") == kStandardOutput) request.printed = Printed::json;
  if (request.printed == Printed::page) request.report_file = given.text("report");
  if (given.text("trace") == kStandardOutput) refuse("--trace - is no file; give a name (only --report - goes to standard output)");
  request.trace_file = given.text("trace");
  request.mask = Mask::parse(given.text("mask", "full"), noting_names(files, request.mask_files));
  read_sparsity(given, request);
  request.query_offset = given.integer<std::int64_t>("query-offset", -kMostTokens, kMostTokens);
  request.scale = given.real("scale", -kLargestScale, kLargestScale);
  request.softcap = given.real("softcap", kLeastSoftcap, kLargestSoftcap);
  request.rotary = rotary_of(given);
  request.dual_chunk = dual_chunk_of(given);
  if (request.dual_chunk && !request.rotary) refuse("--dual-chunk is of rotary positions, and there are none; give --rope BASE");
  if (given.has("alibi")) request.bias = PositionBias::alibi;
  request.sinks_file = given.text("sinks-logits");
  request.dropout = dropout_of(given);
  request.type = type_of(given);
  request.options = options_of(given, noting_names(read_chunks, request.layout_files));
  request.options.backward = backward_of(given);
  request.threads = given.integer("threads", 1, kMostThreads);
  request.ranks = given.integer("ranks", 1, kMostRanksInProcess).value_or(1);
  request.repetitions = given.integer("repeat", 1, kMostRepetitions);
  request.measure_overlap = given.has("measure-overlap");
  request.replay = replay_of(given);
  request.live = live_of(given);
  request.check_rows = given.integer<std::int64_t>("check", 1, kMostTokens).value_or(0);
  request.seed = given.integer<std::uint64_t>("seed", 0).value_or(request.seed);
  for (const auto& [name, value] : given.all())
    if (name != "threads") request.given.emplace_back("--" + name, value.empty() ? "given" : value);
  return request;
}

Command help() {
  std::ostringstream text;
  text << kIntroduction << describe_run_options() << "\n" << plan_help() << "\n" << topo_help() << "\n" << calibrate_help();
  return {.name = "--help", .text = text.str()};
}

Command tell_version() {
  return {.name = "--version", .text = std::string("gyre ") + version() + "\n"};
}

}  // namespace

Command parse_command_line(const std::vector<std::string>& arguments, bool launched, const MaskFiles& files,
                           const PartitionChoice::ReadChunks& read_chunks) {
  const std::string first = arguments.empty() ? "" : arguments[0];
  if (first == "--help" || first == "-h" || first == "help") return help();
  if (first == "--version" || first == "version") return tell_version();
  if (first.empty() || first.starts_with('-')) refuse("there is no subcommand; use gyre run, or gyre --help");
  if (first != "run" && first != "topo" && first != "plan" && first != "calibrate")
    refuse("unknown subcommand '" + first + "'; use gyre run, gyre plan, gyre topo, gyre calibrate or gyre --help");

  std::vector<std::string> options(arguments.begin() + 1, arguments.end());
  std::replace(options.begin(), options.end(), std::string("-h"), std::string("--help"));
  if (first == "topo") {
    if (const auto request = parse_topo(options)) return {.name = first, .topo = request};
    return {.name = "topo --help", .text = topo_help()};
  }
  if (first == "plan") {
    if (auto request = parse_plan(options, files)) return {.name = first, .plan = std::move(request)};
    return {.name = "plan --help", .text = plan_help()};
  }
  if (first == "calibrate") {
    if (const auto request = parse_calibrate(options, launched)) return {.name = first, .calibrate = request};
    return {.name = "calibrate --help", .text = calibrate_help()};
  }
  const Given given("run", describe_run_options(), options);
  if (given.has("help")) return help();
  if (given.has("version")) return tell_version();
  return {.name = first, .run = run_request(given, launched, files, read_chunks)};
}

}  // namespace gyre
