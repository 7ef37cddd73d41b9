#include "bench/trainer/command_line.hpp"

#include <boost/program_options.hpp>
#include <sstream>
#include <stdexcept>

namespace gyre::trainer {

Command parse_command_line(int argc, char** argv) {
  namespace po = boost::program_options;
  Command command;
  Settings& settings = command.settings;
  ModelShape& model = settings.model;
  std::string strategy, partition;
  const auto value = [](auto* target) { return po::value(target)->default_value(*target); };
  po::options_description options("gyre_bench_trainer --text FILE [options], under mpirun or alone");
  auto add = options.add_options();
  add("help", "this text");
  add("text", po::value(&command.text_file), "documents of bytes between empty lines");
  add("tokens", value(&settings.tokens), "of a packed sequence, one a step");
  add("steps", value(&command.steps), "");
  add("strategy", po::value(&strategy)->default_value("ring"), "as of gyre run");
  add("partition", po::value(&partition)->default_value("auto"), "as of gyre run");
  add("unit", value(&settings.attention.unit_tokens), "tokens, as of gyre run: another one rounds otherwise");
  add("threads", value(&settings.attention.threads), "of a rank, in attention and in the BLAS");
  add("layers", value(&model.layers), "");
  add("width", value(&model.width), "");
  add("heads", value(&model.query_heads), "");
  add("kv-heads", value(&model.key_heads), "");
  add("head-dim", value(&model.head_dim), "");
  add("hidden", value(&model.hidden), "of the feed-forward");
  add("learning-rate", value(&settings.optimizer.learning_rate), "");
  add("seed", value(&settings.seed), "of parameters and of the order of documents");
  add("json", po::value(&command.json_file), "losses and seconds of every step");
  add("checkpoints", po::value(&command.checkpoint_folder),
      "folder for stepN.safetensors: parameters before and gradients of a step");
  add("checkpoint-steps", po::value(&command.checkpoint_steps)->multitoken(), "which");
  add("compare", po::value(&command.compared_files)->multitoken(),
      "instead of training: gradients from the parameters of these checkpoints against theirs; status 1 if one is over the "
      "tolerance");
  add("tolerance", po::value(&command.tolerance)->default_value(1e-5), "relative to a tensor's largest element");

  po::variables_map given;
  po::store(po::parse_command_line(argc, argv, options), given);
  po::notify(given);
  if (given.count("help") != 0) {
    std::ostringstream text;
    text << options;
    command.help = text.str();
    return command;
  }
  settings.attention.strategy = parse_strategy(strategy);
  settings.attention.partition = PartitionChoice::parse(partition);
  if (command.text_file.empty() && command.compared_files.empty())
    throw std::invalid_argument("there is no text; give --text FILE");
  if (command.checkpoint_folder.empty() != command.checkpoint_steps.empty())
    throw std::invalid_argument("--checkpoints and --checkpoint-steps go together; give both or none");
  return command;
}

}  // namespace gyre::trainer
