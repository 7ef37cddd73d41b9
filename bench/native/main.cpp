// Native sparse attention beside dense causal attention, in turns: what share of the pairs its branches see, what share of the time
// they take, forward and backward, and where that goes.
//
//   gyre_bench_native [--tokens 16384] [--ranks 2] [--heads 8] [--kv-heads 2] [--head-dim 64] [--dtype f32] [--alike 1] [--json
//   FILE]
//
// Ranks are threads of this process. Figures are medians over rounds; ratios are of a round. Fails where sampled rows are further
// from float64 than their type allows.
#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "job.hpp"

namespace {

using gyre::bench::NativeFigures;
using gyre::bench::NativeJob;
using gyre::bench::NativeSeconds;

struct Arguments {
  NativeJob job;
  std::string json;
};

Arguments parse(int argc, char** argv) {
  namespace po = boost::program_options;
  Arguments arguments;
  NativeJob& job = arguments.job;
  std::string dtype, clock;
  po::options_description options("Options");
  const auto add = [&](const char* name, auto& value, const auto& standard, const char* help) {
    options.add_options()(name, po::value(&value)->default_value(standard), help);
  };
  options.add_options()("help", "this");
  add("tokens", job.problem.query_tokens, std::int64_t{16384}, "of the sequence");
  add("ranks", job.ranks, 2, "threads of this process that are a rank each");
  add("heads", job.problem.query_heads, 8, "query heads");
  add("kv-heads", job.problem.key_heads, 2, "key/value heads");
  add("head-dim", job.problem.head_dim, 64, "of queries, keys and values");
  add("dtype", dtype, std::string("f32"), "f32, bf16 or f16");
  add("window", job.sparse.window, job.sparse.window, "keys of the window");
  add("blocks", job.sparse.select_blocks, job.sparse.select_blocks, "that a query selects");
  add("alike", job.alike_tokens, std::int64_t{1}, "neighbours whose queries are much the same");
  add("rounds", job.rounds, 3, "of both attentions in turns");
  add("clock", clock, std::string("wall"), "wall, or thread: what the processor spends on a rank, of dense and native");
  add("json", arguments.json, std::string(), "a file for the figures");
  po::variables_map given;
  po::store(po::parse_command_line(argc, argv, options), given);
  po::notify(given);
  if (given.contains("help")) {
    std::printf("%s\n", (std::ostringstream() << options).str().c_str());
    std::exit(0);
  }
  if (clock != "wall" && clock != "thread") throw std::invalid_argument("--clock " + clock + " is unknown; give wall or thread");
  job.thread_clock = clock == "thread";
  job.problem.key_tokens = job.problem.query_tokens, job.problem.value_dim = job.problem.head_dim;
  job.problem.type = gyre::parse_type(dtype), job.problem.mask = gyre::Mask::causal();
  job.options.backward = gyre::Backward::automatic;
  return arguments;
}

double median(const std::vector<NativeSeconds>& rounds, auto&& of) {
  std::vector<double> values;
  values.reserve(rounds.size());
  for (const NativeSeconds& round : rounds) values.push_back(of(round));
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

nlohmann::ordered_json show(const char* pass, const std::vector<NativeSeconds>& rounds) {
  const std::pair<const char*, double (*)(const gyre::NativeSparseTime&)> parts[] = {
      {"compressing", [](const gyre::NativeSparseTime& time) { return time.compressing_seconds; }},
      {"selecting", [](const gyre::NativeSparseTime& time) { return time.selecting_seconds; }},
      {"planning", [](const gyre::NativeSparseTime& time) { return time.planning_seconds; }},
      {"compressed", [](const gyre::NativeSparseTime& time) { return time.branches[0].total_seconds; }},
      {"selected", [](const gyre::NativeSparseTime& time) { return time.branches[1].total_seconds; }},
      {"window", [](const gyre::NativeSparseTime& time) { return time.branches[2].total_seconds; }}};
  const double faster = median(rounds, [](const NativeSeconds& s) { return s.dense / s.native; });
  const double dense = median(rounds, [](const NativeSeconds& s) { return s.dense; });
  nlohmann::ordered_json json = {{"dense_seconds", dense}, {"dense_over_native", faster}};
  std::printf("%-8s  dense %6.0f ms, %.2f x native; of native", pass, 1e3 * dense, faster);
  for (const auto& [name, of] : parts) {
    const double share = median(rounds, [of = of](const NativeSeconds& s) { return of(s.parts) / s.parts.total_seconds; });
    json["shares_of_native"][name] = share;
    std::printf("  %s %.2f", name, share);
  }
  std::printf("\n");
  return json;
}

int run(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  const NativeJob& job = arguments.job;
  const NativeFigures figures = measure(job);
  const gyre::Problem& p = job.problem;
  std::printf("%lld tokens, %d heads (%d key/value) of %d, %s, %d ranks x 1 thread; %s; %lld queries alike\n",
              static_cast<long long>(p.key_tokens), p.query_heads, p.key_heads, p.head_dim, to_string(p.type).c_str(), job.ranks,
              to_string(job.sparse).c_str(), static_cast<long long>(job.alike_tokens));
  std::printf("pairs of causal attention: compressed %.3f  selected %.3f  window %.3f;  error %.1e\n", figures.pairs[0],
              figures.pairs[1], figures.pairs[2], figures.error);
  nlohmann::ordered_json json = {{"tokens", p.key_tokens},     {"ranks", job.ranks},     {"alike", job.alike_tokens},
                                 {"dtype", to_string(p.type)}, {"pairs", figures.pairs}, {"error", figures.error}};
  json["forward"] = show("forward", figures.forward);
  json["backward"] = show("backward", figures.backward);
  if (!arguments.json.empty()) std::ofstream(arguments.json) << json.dump(2) << '\n';
  const double limit = p.type == gyre::Type::f32 ? 1e-5 : p.type == gyre::Type::f16 ? 4e-3 : 3e-2;
  if (figures.error <= limit) return 0;
  std::fprintf(stderr, "rows are %.1e of the largest output from float64; at most %.1e is right\n", figures.error, limit);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gyre_bench_native: %s\n", error.what());
    return 2;
  }
}
