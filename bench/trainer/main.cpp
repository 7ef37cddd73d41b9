// gyre_bench_trainer: trains a small language model on a text, its sequence shared out over the ranks.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/trainer/command_line.hpp"
#include "bench/transformer/job.hpp"
#include "bench/transformer/linear.hpp"

namespace gyre::trainer {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const StepSeconds& seconds) {
  return {{"total", seconds.total},
          {"preparing", seconds.preparing},
          {"forward", seconds.forward},
          {"backward", seconds.backward},
          {"reducing", seconds.reducing}};
}

/// A JSON file is written and text printed by rank 0 alone.
void write_json(const Command& command, const Transport& transport, Json steps) {
  if (command.json_file.empty() || transport.rank() != 0) return;
  const Json json = {{"ranks", transport.ranks()},
                     {"strategy", to_string(command.settings.attention.strategy)},
                     {"tokens", command.settings.tokens},
                     {"steps", std::move(steps)}};
  std::ofstream file(command.json_file);
  file << json.dump(1) << '\n';
  if (!file.flush()) throw std::runtime_error(command.json_file + " cannot be written");
}

int train(const Command& command, Transport& transport) {
  Trainer trainer(transport, command.settings);
  const Text text = Text::read(command.text_file, command.settings.seed);
  Json steps = Json::array();
  for (int step = 1; step <= command.steps; ++step) {
    const PackedSequence sequence = text.sequence(step, command.settings.tokens);
    const StepResult result = trainer.compute_gradients(sequence);
    const bool kept = std::count(command.checkpoint_steps.begin(), command.checkpoint_steps.end(), step) != 0;
    if (kept && transport.rank() == 0)
      write_checkpoint(command.checkpoint_folder + "/step" + std::to_string(step) + ".safetensors", trainer.layout(),
                       {step, result.loss, trainer.parameters(), trainer.gradients(), sequence});
    trainer.update(step);
    steps.push_back(
        {{"step", step}, {"loss", result.loss}, {"documents", sequence.documents.size()}, {"seconds", json_of(result.seconds)}});
    if (transport.rank() == 0 && (step == 1 || step % 10 == 0))
      std::printf("step %d: loss %.4f, %zu documents, %.0f ms (attention %.0f + %.0f ms, its preparation %.0f ms)\n", step,
                  result.loss, sequence.documents.size(), 1e3 * result.seconds.total, 1e3 * result.seconds.forward,
                  1e3 * result.seconds.backward, 1e3 * result.seconds.preparing);
    std::fflush(stdout);
  }
  write_json(command, transport, std::move(steps));
  return 0;
}

/// 1 if a gradient is over the tolerance.
int compare(const Command& command, Transport& transport) {
  Trainer trainer(transport, command.settings);
  bool right = true;
  Json steps = Json::array();
  for (const std::string& path : command.compared_files) {
    const Checkpoint checkpoint = read_checkpoint(path, trainer.layout());
    trainer.parameters() = checkpoint.parameters;
    const StepResult result = trainer.compute_gradients(checkpoint.sequence);
    const auto found = differences(trainer.layout(), trainer.gradients(), checkpoint);
    const auto worst = std::max_element(found.begin(), found.end(), [](auto& a, auto& b) { return a.largest < b.largest; });
    right = right && worst->largest <= command.tolerance;
    if (transport.rank() == 0)
      std::printf("step %d: gradients differ by %.2e of a tensor's largest at most (%s), loss %.9g against %.9g\n", checkpoint.step,
                  worst->largest, worst->tensor.c_str(), result.loss, checkpoint.loss);
    Json by_tensor;
    for (const Difference& difference : found) by_tensor[difference.tensor] = difference.largest;
    steps.push_back({{"step", checkpoint.step}, {"loss", result.loss}, {"difference", worst->largest}, {"differences", by_tensor}});
  }
  write_json(command, transport, std::move(steps));
  return right ? 0 : 1;
}

int run(const Command& command, Transport& transport) {
  transformer::use_blas_threads(command.settings.attention.threads);
  return command.compared_files.empty() ? train(command, transport) : compare(command, transport);
}

}  // namespace
}  // namespace gyre::trainer

int main(int argc, char** argv) {
  using namespace gyre::trainer;
  return gyre::transformer::run_job(argc, argv, "gyre_bench_trainer", parse_command_line, run);
}
