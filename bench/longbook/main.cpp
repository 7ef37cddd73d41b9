// gyre_bench_longbook: a language model reads a text, its sequence shared out over the ranks.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/longbook/command_line.hpp"
#include "bench/longbook/loaded_model.hpp"
#include "bench/longbook/reading.hpp"
#include "bench/longbook/report.hpp"
#include "bench/transformer/job.hpp"
#include "bench/transformer/linear.hpp"
#include "runtime/io/index_files.hpp"

namespace gyre::longbook {
namespace {

using Json = nlohmann::ordered_json;

Problem problem_of(const Command& command, const LlamaShape& shape) {
  Problem problem = attention_of(shape, command.tokens);
  problem.type = command.type;
  if (command.yarn) {
    problem.rotary->scaling = RotaryScaling::yarn;
    problem.rotary->scale = command.yarn->scale, problem.rotary->original_tokens = command.yarn->original_tokens;
  }
  problem.dual_chunk = command.dual_chunk;
  if (command.mask != "causal") problem.mask = problem.mask & Mask::parse(command.mask, mask_files());
  return problem;
}

void write_json(const Command& command, const Transport& transport, const LlamaShape& shape, double loading_seconds,
                Json readings) {
  if (command.json_file.empty() || transport.rank() != 0) return;
  const Json json = {{"ranks", transport.ranks()},
                     {"threads", command.attention.threads},
                     {"tokens", command.tokens},
                     {"mask", command.mask},
                     {"sparse", command.sparse},
                     {"dtype", to_string(command.type)},
                     {"context_tokens", shape.context_tokens},
                     {"loading_seconds", loading_seconds},
                     {"readings", std::move(readings)}};
  std::ofstream file(command.json_file);
  file << json.dump(1) << '\n';
  if (!file.flush()) throw std::runtime_error(command.json_file + " cannot be written");
}

/// 1 if a perplexity is not that of the first reading.
int read_all(const Command& command, Transport& transport) {
  Stopwatch watch;
  const LoadedModel loaded = load_model(transport, command.model_file);
  const std::vector<std::int32_t> text = load_tokens(transport, loaded.tokenizer, command.text_file, command.tokens);
  const double loading_seconds = watch.lap();
  const Problem problem = problem_of(command, loaded.shape);
  Llama model(loaded.shape, loaded.weights);
  Json readings = Json::array();
  double first = 0, worst = 0;
  for (const StrategyChoice& strategy : command.strategies) {
    for (const PartitionChoice& partition : command.partitions) {
      ReadingOptions options{.attention = command.attention, .repeat = command.repeat, .choices = command.choices};
      options.attention.strategy = strategy, options.attention.partition = partition;
      const Reading reading = read(transport, model, text, problem, options);
      const std::string first_token = loaded.tokenizer.decode(std::span(&reading.first_token, 1));
      if (readings.empty()) first = reading.perplexity();
      worst = std::max(worst, std::abs(reading.perplexity() / first - 1));
      readings.push_back(json_of(reading, first_token, command.bin_tokens));
      if (transport.rank() == 0) std::printf("%s", page(reading, first_token).c_str()), std::fflush(stdout);
    }
  }
  write_json(command, transport, loaded.shape, loading_seconds, std::move(readings));
  const bool right = worst <= command.tolerance;
  if (!right && transport.rank() == 0)
    std::fprintf(stderr, "gyre_bench_longbook: perplexities are %.1e apart, more than %.1e\n", worst, command.tolerance);
  return right ? 0 : 1;
}

int run(const Command& command, Transport& transport) {
  if (!command.encode_file.empty()) {
    if (transport.rank() == 0) encode_file(command.model_file, command.text_file, command.encode_file);
    return 0;
  }
  transformer::use_blas_threads(command.attention.threads);
  return read_all(command, transport);
}

}  // namespace
}  // namespace gyre::longbook

int main(int argc, char** argv) {
  using namespace gyre::longbook;
  return gyre::transformer::run_job(argc, argv, "gyre_bench_longbook", parse_command_line, run);
}
